"""The rule table: which codes have which rules, in flash, for the reader to decide from.

One base segment and a few deltas, named by a manifest that is replaced by an atomic rename.
Promises: a lookup reads at most 1 KiB a segment and allocates nothing; memory does not grow
with the number of tokens except by a few bytes a block; whatever the power does, the table is
the old one or the new one; what is damaged is told apart from what is unknown.
FORMAT.md has the bytes and the recovery. Who asks the server, and when, is `sync`'s business.
"""

import os

from kalitka.table import codes, manifest
from kalitka.table.block import NO_RULES, Cursor, Damaged
from kalitka.table.full_change import FullChange
from kalitka.table.incremental_change import IncrementalChange
from kalitka.table.merge import Entries
from kalitka.table.segment import ABSENT, PRESENT, Segment
from kalitka.table.transaction import Transaction
from micropython import const

UNKNOWN = ABSENT
FOUND = PRESENT
DAMAGED = const(2)

_ENOENT = const(2)


class Table:
    """The table in `folder`, which is made if it is not there.

    origin: a small number (31 bits) that names the server and reader the rules come from. With
    another one than the table was filled with, the table still decides, but its minute counts
    as 0: a minute of one server means nothing to another.

    minute: the server's minute of this state; 0 asks for a full sync.
    seconds: this server was seen to give day times in seconds.
    fault: why the table needs a full sync to be whole again, in words, else "".
    rules, at, end: after `find` returned FOUND, the rule set is `rules[at:end]`.
    """

    def __init__(self, folder: str, origin: int = 0):
        self.folder = folder
        self.origin = origin
        self.fault = ""
        self.swept = 0  # files removed so far: leftovers of cut syncs, and replaced ones
        self._cursor = Cursor()
        self._key = bytearray(codes.PACKED_MAX)
        self._segments = []  # newest first; None for one that cannot be read
        self._transaction = None
        self._untidy = False  # files were begun since the last sweep
        self._orphans = 0  # segments up to this number lost their manifest, and are its trace
        self.rules = self._cursor.buf
        self.at = self.end = 0
        self._open()

    def find(self, code: bytes | bytearray, n: int) -> int:
        """Look up the code `code[:n]` (bytes-like): FOUND, UNKNOWN or DAMAGED."""
        if codes.pack_into(code, n, self._key) < 0:
            return UNKNOWN
        return self._find_packed(self._key)

    def lookup(self, code: bytes) -> bytes | None:
        """Return the rule set (bytes) of a code, None if unknown. Raises Damaged."""
        return self.lookup_packed(codes.pack(code))

    def items(self):
        """Yield (code, rule set), both bytes, in code order. Raises Damaged."""
        try:
            entries = Entries(self.segments())
            while entries.next_live():
                yield codes.unpack(entries.key[: entries.key[1] + 3]), entries.rule_set
        except Damaged as e:
            self.fault = str(e)
            raise

    def codes(self):
        """Yield the codes (bytes) in code order, one at a time. Raises Damaged."""
        for code, _ in self.items():
            yield code

    def begin(self, full: bool, unsorted: bool = False) -> Transaction:
        """Begin a change: a full one replaces the table, the other is applied to it.

        unsorted: whether the one before ended with `again`.
        Raises ValueError if another is under way, Damaged if only a full sync can help.
        """
        if self._transaction:
            raise ValueError("a change of the table is under way")
        if self.fault and not full:
            raise Damaged(self.fault)
        self._transaction = FullChange(self, unsorted) if full else IncrementalChange(self)
        return self._transaction

    def save_minute(self) -> None:
        """Write the minute down if it moved on without a change of the rules."""
        if self.minute != self._manifest.minute and not self.foreign and not self.fault:
            self._commit(self._manifest.segments, self.minute, self.seconds)

    def close(self) -> None:
        """Close all files."""
        for segment in self._segments:
            if segment:
                segment.close()
        self._segments = []

    # What follows is for transactions.

    def lookup_packed(self, key: bytes) -> bytes | None:
        """As `lookup`, for a packed code."""
        state = self._find_packed(key)
        if state == DAMAGED:
            raise Damaged(self.fault)
        return bytes(self.rules[self.at : self.end]) if state == FOUND else None

    def names(self) -> list[str]:
        """Return the file names of the segments, oldest first (a list)."""
        return list(self._manifest.segments)

    def segments(self) -> list:
        """Return the open segments, newest first. Raises Damaged if one cannot be read."""
        if None in self._segments:
            raise Damaged(self.fault)
        return self._segments

    def new_name(self, kind: str) -> str:
        """Return a file name for a new segment that no file of the manifest has."""
        self._generation += 1
        self._untidy = True
        return "%s-%d.seg" % (kind, self._generation)

    def open_segment(self, name: str) -> Segment:
        """Open a segment of the folder. Raises Damaged, OSError."""
        return Segment(self.folder + "/" + name, self._cursor)

    def confirm(self, minute: int, seconds: bool) -> None:
        """Take a minute whose state is the one that is there; writes only what must be kept."""
        reset = minute == 0 and self._manifest.minute
        if self.foreign or seconds != self.seconds or reset:
            self._commit(self._manifest.segments, minute, seconds)
        self.minute = minute

    def install(self, names: list[str], minute: int, seconds: bool) -> None:
        """Make these segment files (oldest first) the table: the moment of the commit."""
        # Opened first: what cannot be read back is not committed.
        try:
            segments = [self.open_segment(name) for name in reversed(names)]
        except Damaged as e:
            raise OSError("what was written cannot be read back: %s" % e)
        self._commit(tuple(names), minute, seconds)
        self.close()
        self._segments = segments
        self.minute = minute

    def release(self, transaction: Transaction) -> None:
        """End a transaction; what it left behind, or replaced, is removed."""
        if self._transaction is transaction:
            self._transaction = None
            if self._untidy:
                self._sweep()

    def _commit(self, names, minute, seconds):
        new = manifest.Manifest(minute, self._generation, seconds, self.origin, names)
        new.save(self.folder)
        self._manifest = new
        self._orphans = 0
        self.seconds = seconds
        self.foreign = False

    def _find_packed(self, key):
        for segment in self._segments:
            # What stands behind a segment that cannot be read may be out of date.
            if segment is None:
                return DAMAGED
            try:
                state = segment.find(key)
            except OSError as e:
                self.fault = str(e)
                return DAMAGED
            if state == PRESENT:
                self.rules = segment.rules
                self.at = segment.at
                self.end = segment.end
                return FOUND
            if state == NO_RULES:
                return UNKNOWN
        return UNKNOWN

    def _open(self):
        try:
            os.mkdir(self.folder)
        except OSError:  # it is there already
            pass
        try:
            loaded = manifest.load(self.folder)
        except OSError as e:
            loaded = self._without_manifest(e)
        self._manifest = loaded
        self._generation = loaded.generation
        self.seconds = loaded.seconds
        self.foreign = loaded.origin != self.origin
        if not self.fault:
            self._segments = [self._try_segment(name) for name in reversed(loaded.segments)]
        self.minute = 0 if self.foreign or self.fault else loaded.minute
        if not self.fault:
            self._sweep()

    def _without_manifest(self, error):
        # What the table is if its manifest could not be read: new, or damaged.
        try:
            names = os.listdir(self.folder)
        except OSError as e:
            error = e
            names = []
        empty = manifest.Manifest(origin=self.origin)
        whole = not isinstance(error, Damaged) and error.errno == _ENOENT
        if whole and not any(name.endswith(".seg") for name in names):
            # The very first start. From now on a missing manifest is damage.
            try:
                empty.save(self.folder)
            except OSError as e:
                self.fault = "the table cannot be written: %s" % e
            return empty
        self.fault = "the manifest is missing" if whole else str(error)
        self._segments = [None]
        # New files must not meet the old ones, which stay until a full sync has replaced them.
        empty.generation = self._orphans = max([_number_of(name) for name in names] + [0])
        return empty

    def _try_segment(self, name):
        try:
            return self.open_segment(name)
        except OSError as e:
            self.fault = str(e) if isinstance(e, Damaged) else "%s cannot be read" % name
            return None

    def _sweep(self):
        # Removes what the manifest does not name: leftovers of a cut sync, replaced files.
        # What cannot be removed costs room, not correctness: it is tried again.
        try:
            self._untidy = False
            for name in os.listdir(self.folder):
                if name == manifest.NAME or name in self._manifest.segments:
                    continue
                if not name.endswith(".seg") or _number_of(name) > self._orphans:
                    os.remove(self.folder + "/" + name)
                    self.swept += 1
        except OSError:
            self._untidy = True


def _number_of(name):
    digits = name.split("-")[-1].split(".")[0]
    return int(digits) if digits.isdigit() else 0
