"""The files of a rule table: their kinds, and readers for segments, manifests and whole tables.

The firmware's own modules decode the files; nothing here knows their byte format. Nothing is
written either, and so `Table` is not used: it sweeps files that the manifest does not name, and
these may be the files to inspect.
"""

import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from kalitka import native
from kalitka.access import packing, rules
from kalitka.table import codes, manifest
from kalitka.table.block import (
    BLOCK,
    IN_PLACE,
    KEY_ROOM,
    NO_KEY,
    TOMBSTONE,
    CorruptionError,
    Cursor,
    number_at,
    read_block,
    rules_at,
    start,
)
from kalitka.table.merge import MergedEntries
from kalitka.table.rule_sets import RULE_SET_MAX, RuleSets
from kalitka.table.segment import Segment

# Raised by the firmware's modules in CPython on malformed bytes with correct checksums: they rely
# on the checksums, and an offset beyond a buffer is an IndexError.
MALFORMED = (ArithmeticError, LookupError, ValueError)

FOOTER = "footer"
RULE_SETS = "rule sets"
INDEX = "index"
_PARTS = (FOOTER, RULE_SETS, INDEX)  # in the order in which a Segment reads them
_CHECK = 4  # bytes of checksum after each part

_Item = TypeVar("_Item")


class NotATable(Exception):
    """The path is not a file of a table; the message says what is."""


class PathKind(Enum):
    """The kind of file that a path names."""

    TABLE = "the folder of a table"
    MANIFEST = "a manifest"
    SEGMENT = "a segment"


class SegmentEntry(NamedTuple):
    """The entry of one code in a segment.

    key: the packed code. number: the rule set's, IN_PLACE or TOMBSTONE. rule_set: None for a
    tombstone, or if the segment has no set of that number.
    """

    key: bytes
    number: int
    rule_set: bytes | None


class BlockContents(NamedTuple):
    """A decoded block: its entries, their size in bytes, and the fault after them, else ""."""

    entries: list[SegmentEntry]
    used: int
    fault: str


def kind_of(path: Path) -> PathKind:
    """Return the kind of file at a path, judged by its name. Raises NotATable, OSError."""
    if os.path.isdir(path):
        if any(name == manifest.NAME or name.endswith(".seg") for name in os.listdir(path)):
            return PathKind.TABLE
        raise NotATable("this folder has neither a manifest nor a segment (NAME.seg)")
    if not os.path.exists(path):
        raise NotATable("there is no such file")
    if os.path.isfile(path):
        if path.name == manifest.NAME:
            return PathKind.MANIFEST
        if path.suffix == ".seg":
            return PathKind.SEGMENT
    raise NotATable("neither a segment (NAME.seg), nor a manifest, nor the folder of a table")


class SegmentFile(Segment):
    """A segment, opened even if damaged. Raises CorruptionError only for a damaged footer.

    corrupt_parts: the other parts (RULE_SETS, INDEX) with a wrong checksum. sizes: bytes by part.
    sets: the interned rule sets (bytes) by number.
    """

    def __init__(self, path: Path):
        self.sizes: dict[str, int] = {}
        self.corrupt_parts: list[str] = []
        self._index_part = b""
        super().__init__(str(path), Cursor())
        self._buf = bytearray(KEY_ROOM + BLOCK)
        self._state = array("H", [0, 0, 0])
        self.sets = self._all_sets()

    def block(self, number: int) -> BlockContents:
        """Decode a block, by its number from 0."""
        at = number * BLOCK
        buf = self._buf
        state = self._state
        view = memoryview(buf)[KEY_ROOM : KEY_ROOM + min(BLOCK, self.blocks[3] - at)]
        try:
            read_block(self.blocks, number, view)
        except CorruptionError as e:
            return BlockContents([], 0, str(e))
        start(buf, 0, KEY_ROOM, len(view), state, 0)
        used = state[1] - state[0]
        entries = []
        try:
            while (order := native.next_entry(buf, 0, KEY_ROOM, state, 0, NO_KEY)) > 0:
                entries.append(self._entry(state[2]))
            whole = order != native.MALFORMED and entries
        except MALFORMED:
            whole = False
        fault = "" if whole else f"the block at {at} of {self.name} is malformed"
        return BlockContents(entries, used, fault)

    def block_of(self, key: bytes) -> int:
        """Return the number of the block to which the index leads for a packed code."""
        return native.block_of(self._index_part, len(self._index_part) - _CHECK, key)

    def _entry(self, value: int) -> SegmentEntry:
        buf = self._buf
        key = bytes(buf[: buf[1] + 3])
        number = number_at(buf, value)
        if number == TOMBSTONE:
            return SegmentEntry(key, number, None)
        if number == IN_PLACE:
            return SegmentEntry(key, number, rules_at(buf, value))
        return SegmentEntry(key, number, self.sets[number] if number < len(self.sets) else None)

    def _section(self, at: int, size: int) -> bytes:
        # Called by the firmware's Segment for each part. A reader stops at the first damaged part;
        # here only a damaged footer raises.
        part = _PARTS[len(self.sizes)]
        self.sizes[part] = size
        try:
            data = super()._section(at, size)
        except CorruptionError:
            if part == FOOTER:
                raise
            self.corrupt_parts.append(part)
            data = bytes(_CHECK)
        if part == INDEX:
            self._index_part = data
        return data

    def _all_sets(self) -> list[bytes]:
        sets = []
        try:
            while True:
                sets.append(self.rule_set(len(sets)))
        except CorruptionError:
            return sets


@contextmanager
def open_segment(path: Path) -> Iterator[SegmentFile]:
    """Open a segment. Raises CorruptionError if a reader could not open the segment."""
    segment = SegmentFile(path)
    try:
        if segment.corrupt_parts:
            raise CorruptionError(f"{segment.corrupt_parts[0]} of {segment.name}: wrong checksum")
        yield segment
    finally:
        segment.close()


@contextmanager
def open_table(folder: Path) -> Iterator[tuple[manifest.Manifest, list[SegmentFile]]]:
    """Open a table: yields (manifest, segments, newest first). Raises CorruptionError."""
    found = load_manifest(folder)
    with ExitStack() as stack:
        segments = []
        for name in reversed(found.segments):
            if not is_file_in(folder, name):
                raise CorruptionError(f"the manifest names {name}, which is not there")
            segments.append(stack.enter_context(open_segment(folder / name)))
        yield found, segments


def live_entries(segments: list[SegmentFile]) -> Iterator[SegmentEntry]:
    """Merge segments (newest first); yield live entries, no tombstones. Raises CorruptionError."""
    sets = RuleSets()
    try:
        entries = MergedEntries(segments, sets)
        while entries.next():
            number = entries.number
            if number != TOMBSTONE:
                key = bytes(entries.key[: entries.key[1] + 3])
                rule_set = entries.rule_set if number == IN_PLACE else sets.get(number)
                yield SegmentEntry(key, number, rule_set)
    except MALFORMED:
        raise CorruptionError("a block is malformed") from None


def load_manifest(folder: Path) -> manifest.Manifest:
    """Read the manifest of a folder. Raises CorruptionError, even for an unreadable file."""
    try:
        return manifest.load(str(folder))
    except CorruptionError:
        raise
    except OSError as e:
        raise CorruptionError(f"the manifest cannot be read: {e.strerror}") from None


def is_file_in(folder: Path, name: str) -> bool:
    """Return whether a manifest's name is a file directly in the folder."""
    return name == os.path.basename(name) and os.path.isfile(folder / name)


@lru_cache(maxsize=1024)
def rule_texts(rule_set: bytes) -> list[bytes]:
    """Return the texts (a list of bytes) of a rule set. Raises ValueError for an invalid set."""
    try:
        found = packing.split(rule_set)
        texts = [rules.text_of(rule) for rule in found]
        packed = [packing.pack(text) for text in texts]
    except LookupError:
        raise ValueError("its last rule is truncated") from None
    if packed != found:
        raise ValueError("a rule is packed in another form than the firmware's")
    if sorted(set(found)) != found:
        raise ValueError("its rules are not in byte order, each once")
    if len(rule_set) > RULE_SET_MAX:
        raise ValueError(f"it has more than {RULE_SET_MAX} bytes")
    return texts


def describe_key(key: bytes) -> str:
    """Name a packed code in a message, whether valid or not."""
    try:
        return "code " + codes.unpack(key).decode("utf-8", "backslashreplace")
    except codes.CodeError:
        return "packed code " + key.hex()


def needs_seconds_unit(rule_set: bytes) -> bool:
    """Return whether a day time of a valid rule set can only be in seconds."""
    return any(packing.needs_seconds(rule) for rule in packing.split(rule_set))


def for_each_path(files: Iterable[Path], action: Callable[[Path], int]) -> int:
    """Call `action` with each file; return the highest of all statuses. Errors go to stderr.

    0: no problems; 1: a file is damaged; 2: a file is not a table's or cannot be read.
    """
    status = 0
    for path in files:
        try:
            found = action(path)
        except BrokenPipeError:
            raise  # from stdout, not from a file
        except CorruptionError as e:
            found = print_error(f"{path}: {e}", 1)
        except NotATable as e:
            found = print_error(f"{path}: {e}", 2)
        except OSError as e:
            found = print_error(f"{path}: {e.strerror}", 2)
        status = max(status, found)
    return status


def print_error(text: str, status: int) -> int:
    """Print an error on stderr; return `status`."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[red]{printable(text, console)}[/]")
    return status


def printable(text: str, console: Console) -> str:
    """Return rich markup that shows a text literally, with unprintable characters escaped."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    encoded = plain.encode(console.encoding, "backslashreplace")
    return escape(encoded.decode(console.encoding))


def with_progress(items: Iterable[_Item], name: str, total: int) -> Iterable[_Item]:
    """Return `items`, `total` of them, with a progress bar on stderr if that is a terminal."""
    console = Console(stderr=True, highlight=False)
    label = printable(f"reading {name}", console)
    hidden = not sys.stderr.isatty()
    return track(items, label, total, console=console, transient=True, disable=hidden)
