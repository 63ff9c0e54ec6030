"""`kalitka table check`: reads every byte of a table's files and tells every fault, in words.

Of a segment: its parts, every block, every entry, and whether a lookup would come to it. The
index is asked for every code; `find` goes all the way for three codes of a block, as it would
take most of a minute for a table of 100,000. What the reader does about a fault is told with it.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from rich.console import Console

from kalitka.table import codes, manifest
from kalitka.table.block import BLOCK, TOMBSTONE, CorruptionError
from kalitka.table.segment import ABSENT, DAMAGED, PRESENT
from kalitka_cli.table_files import (
    FOOTER,
    INDEX,
    RUBBISH,
    RULE_SETS,
    Block,
    Entry,
    Kind,
    SegmentFile,
    for_each,
    is_there,
    kind_of,
    load_manifest,
    name_of,
    needs_seconds,
    shown,
    texts_of,
    tracked,
)

# What a fault means, and what is to be done.
_HEALS = "asks for a full sync, which makes the table whole: a connection is all that is needed"
_EVERY_CODE = f'the reader denies every code with "table damaged" and {_HEALS}'
_SEGMENT = f'the reader denies what no newer segment decides with "table damaged" and {_HEALS}'
_BLOCK = (
    'the reader denies the codes of such a block with "table damaged" and, '
    f"once it has met one, {_HEALS}"
)
_ENTRY = f'the reader denies such a code with "table damaged" and, once it has met one, {_HEALS}'
_WRITTEN_SO = (
    "the checksums are right, so this is what was written; the reader may decide wrongly and not "
    "notice: remove the folder `table` from it and restart it, and it knows nobody until it has "
    "synced anew; keep this file for the developers"
)
_LEFT_OVER = (
    "no part of the table: of a sync that was under way or cut off, or replaced by one; "
    "the reader removes it by itself"
)

# No packed code is above this.
_HIGHEST = b"\xff" * 258


@dataclass(frozen=True)
class _Fault:
    what: str
    meaning: str


@dataclass
class _Report:
    # On one file. summary: what is told of a file without faults.
    path: Path
    summary: str = ""
    faults: list[_Fault] = field(default_factory=list)
    seconds: bool = False  # a rule's day time can only be in seconds

    def add(self, what: str, meaning: str) -> None:
        self.faults.append(_Fault(what, meaning))


def run(files: list[Path]) -> int:
    """Check each file, told on stdout. Returns the exit status: 0 only if all are whole."""
    console = Console(highlight=False, soft_wrap=True)
    return for_each(files, partial(_check, console))


def _check(console: Console, path: Path) -> int:
    kind = kind_of(path)
    left_over: list[Path] = []
    if kind == Kind.SEGMENT:
        reports = [_segment_report(path)]
    elif kind == Kind.MANIFEST:
        reports = [_manifest_report(path.parent)[0]]
    else:
        reports, left_over = _table_reports(path)
    for report in reports:
        _tell(console, report)
    for stranger in left_over:
        name = shown(str(stranger), console)
        console.print(f"{name}: [yellow]left over[/], {_LEFT_OVER}")
    return 1 if any(report.faults for report in reports) else 0


def _tell(console: Console, report: _Report) -> None:
    name = shown(str(report.path), console)
    if not report.faults:
        console.print(f"{name}: [green]ok[/], {shown(report.summary, console)}")
        return
    count = len(report.faults)
    console.print(f"{name}: [red]{count} {'fault' if count == 1 else 'faults'}[/]")
    for meaning, faults in groupby(report.faults, lambda fault: fault.meaning):
        for fault in faults:
            console.print(f"  {shown(fault.what, console)}")
        console.print(f"    {shown(meaning, console)}")


def _table_reports(folder: Path) -> tuple[list[_Report], list[Path]]:
    # On the manifest and the segments; and what else is in the folder.
    report, found = _manifest_report(folder)
    there = sorted(path.name for path in folder.iterdir())
    if found is None:
        # Which of them were the table is not known.
        names = [name for name in there if name.endswith(".seg")]
        left_over = []
    else:
        names = list(found.segments)
        left_over = [folder / name for name in there if name not in (manifest.NAME, *names)]
    segments = [_named_report(folder, name) for name in names]
    if found and not found.seconds and any(segment.seconds for segment in segments):
        report.add("the unit is the minute, but a rule has a day time above 1440", _WRITTEN_SO)
    return [report, *segments], left_over


def _manifest_report(folder: Path) -> tuple[_Report, manifest.Manifest | None]:
    report = _Report(folder / manifest.NAME)
    try:
        found = load_manifest(folder)
    except CorruptionError as e:
        report.add(str(e), _EVERY_CODE)
        return report, None
    report.summary = f"minute {found.minute}, segments: {', '.join(found.segments) or 'none'}"
    if found.minute < 0:
        report.add(f"the minute is {found.minute}", _WRITTEN_SO)
    for name in found.segments:
        number = name.removesuffix(".seg").rpartition("-")[2]
        if number.isdecimal() and int(number) > found.generation:
            what = f"{name} is newer than the generation {found.generation}"
            report.add(f"{what}: a sync may overwrite it", _WRITTEN_SO)
    return report, found


def _named_report(folder: Path, name: str) -> _Report:
    report = _Report(folder / name)
    if not is_there(folder, name):
        report.add("the manifest names it, and there is no such file", _SEGMENT)
        return report
    try:
        return _segment_report(folder / name)
    except OSError as e:
        report.add(f"it cannot be read: {e.strerror}", _SEGMENT)
        return report


def _segment_report(path: Path) -> _Report:
    report = _Report(path)
    try:
        segment = SegmentFile(path)
    except CorruptionError as e:
        report.add(
            f"{e}: the {FOOTER} is damaged, or the file was cut, or is no segment", _SEGMENT
        )
        return report
    try:
        _SegmentCheck(segment, report).run()
    finally:
        segment.close()
    return report


class _SegmentCheck:
    # Goes through a segment once, block by block.

    def __init__(self, segment: SegmentFile, report: _Report):
        self._segment = segment
        self._report = report
        self._last = b""  # the packed code before
        self._codes = 0
        self._tombstones = 0
        self._whole = True  # every block could be read to its end
        # Of the block at hand: the first fault of a kind, and how many there are.
        self._first: dict[str, _Fault] = {}
        self._times: Counter[str] = Counter()

    def run(self) -> None:
        segment = self._segment
        for part in segment.faulty:
            self._report.add(f"{part} of {segment.name}: wrong checksum", _SEGMENT)
        count = segment.block_count
        for number in tracked(range(count), segment.name, count):
            self._check_block(number, segment.block(number))
        if self._whole:
            self._check_counts()
        if count and INDEX not in segment.faulty:
            self._check_beyond()
        self._report.summary = ", ".join(
            f"{many} {what}{'' if many == 1 else 's'}"
            for many, what in (
                (segment.codes, "code"),
                (segment.tombstones, "tombstone"),
                (count, "block"),
            )
        )

    def _check_block(self, number: int, block: Block) -> None:
        entries = block.entries
        for entry in entries:
            self._check_entry(number, entry)
        if entries and not block.fault and INDEX not in self._segment.faulty:
            for at in sorted({0, len(entries) // 2, len(entries) - 1}):
                self._check_lookup(entries[at])
        for kind, fault in self._first.items():
            times = self._times[kind]
            more = f" (the first of {times})" if times > 1 else ""
            self._report.add(
                f"in the block at {number * BLOCK}: {fault.what}{more}", fault.meaning
            )
        self._first.clear()
        self._times.clear()
        if block.fault:
            self._whole = False
            self._report.add(block.fault, _BLOCK)

    def _note(self, kind: str, what: str, meaning: str) -> None:
        self._first.setdefault(kind, _Fault(what, meaning))
        self._times[kind] += 1

    def _check_entry(self, number: int, entry: Entry) -> None:
        key = entry.key
        if key <= self._last:
            what = f"{name_of(key)} does not come after {name_of(self._last)}"
            self._note("order", what, _WRITTEN_SO)
        self._last = key
        try:
            codes.unpack(key)
        except codes.CodeError as e:
            self._note("code", f"{name_of(key)} is none: {e}", _WRITTEN_SO)
        if INDEX not in self._segment.faulty and self._place(key) != number:
            what = f"the index leads {name_of(key)} to another block"
            self._note("index", what, _WRITTEN_SO)
        if entry.number == TOMBSTONE:
            self._tombstones += 1
            return
        self._codes += 1
        if entry.rule_set is not None:
            self._check_rule_set(entry.key, entry.rule_set)
        elif RULE_SETS not in self._segment.faulty:
            what = f"{name_of(key)} has rule set {entry.number}, which is not there"
            self._note("no set", what, _ENTRY)

    def _check_rule_set(self, key: bytes, rule_set: bytes) -> None:
        try:
            texts_of(rule_set)
        except ValueError as e:
            begin = rule_set[:12].hex(" ")
            what = f"{name_of(key)} has a rule set that is none, {begin} ...: {e}"
            self._note("rules", what, _WRITTEN_SO)
            return
        if not self._report.seconds:
            self._report.seconds = needs_seconds(rule_set)

    def _place(self, key: bytes) -> int:
        try:
            return self._segment.block_of(key)
        except RUBBISH:
            return -1

    def _check_lookup(self, entry: Entry) -> None:
        segment = self._segment
        if entry.number != TOMBSTONE and entry.rule_set is None:
            return  # told already
        try:
            state = segment.find(entry.key)
            fault = segment.fault if state == DAMAGED else ""
        except RUBBISH as e:
            state, fault = DAMAGED, str(e)
        if state == DAMAGED:
            self._note("lookup", f"a lookup of {name_of(entry.key)} fails: {fault}", _WRITTEN_SO)
            return
        found = bytes(segment.rules[segment.at : segment.end]) if state == PRESENT else None
        if state == ABSENT or found != entry.rule_set:
            what = f"a lookup of {name_of(entry.key)} comes to something else"
            self._note("lookup", what, _WRITTEN_SO)

    def _check_counts(self) -> None:
        segment = self._segment
        for what, said, there in (
            ("codes", segment.codes, self._codes),
            ("tombstones", segment.tombstones, self._tombstones),
        ):
            if said != there:
                self._report.add(f"the footer says {said} {what}, there are {there}", _WRITTEN_SO)
        if self._tombstones and segment.name.startswith("base-"):
            self._report.add(f"a base with {self._tombstones} tombstones", _WRITTEN_SO)

    def _check_beyond(self) -> None:
        # Separators behind the last block would lead to blocks that are not there.
        last = self._segment.block_count - 1
        if self._place(_HIGHEST) != last:
            what = "the index does not lead what is above every code to the last block"
            self._report.add(what, _WRITTEN_SO)
