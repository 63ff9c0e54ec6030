"""`kalitka table check`: reads every byte of a table's files and describes every problem.

In a segment it checks the parts, every block, every entry and the lookups. The index is checked
for every code, a full `find` only for three codes of a block: for all codes of a table of 100,000
it would take most of a minute. Each problem comes with what the reader does about it.
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
    MALFORMED,
    RULE_SETS,
    BlockContents,
    PathKind,
    SegmentEntry,
    SegmentFile,
    describe_key,
    for_each_path,
    is_file_in,
    kind_of,
    load_manifest,
    needs_seconds_unit,
    printable,
    rule_texts,
    with_progress,
)

# The consequence of a problem, and what to do.
_HEALS = "requests a full sync, which replaces the table: it only needs a connection"
_EVERY_CODE = f'the reader denies every code with "table damaged" and {_HEALS}'
_SEGMENT = f'the reader denies codes in no newer segment with "table damaged" and {_HEALS}'
_BLOCK = (
    'the reader denies the codes of such a block with "table damaged" and, '
    f"once it has met one, {_HEALS}"
)
_ENTRY = f'the reader denies such a code with "table damaged" and, once it has met one, {_HEALS}'
_WRITTEN_SO = (
    "the checksums are right, so the writer made this; the reader may decide wrongly without "
    "noticing: keep this file for the developers, remove the folder `table` from the reader and "
    "restart it; until its next sync it knows no codes"
)
_LEFT_OVER = (
    "not part of the table: from an unfinished or interrupted sync, or replaced by a later one; "
    "the reader removes it by itself"
)

# Above every packed code.
_HIGHEST = b"\xff" * 258


@dataclass(frozen=True)
class _Problem:
    what: str
    consequence: str


@dataclass
class _FileReport:
    # The report on one file. summary: printed if the file has no problems.
    path: Path
    summary: str = ""
    problems: list[_Problem] = field(default_factory=list)
    seconds: bool = False  # some rule's day time can only be in seconds

    def add(self, what: str, consequence: str) -> None:
        self.problems.append(_Problem(what, consequence))


def run(files: list[Path]) -> int:
    """Check each file and report on stdout. Return the exit status: 0 only without problems."""
    console = Console(highlight=False, soft_wrap=True)
    return for_each_path(files, partial(_check, console))


def _check(console: Console, path: Path) -> int:
    kind = kind_of(path)
    left_over: list[Path] = []
    if kind == PathKind.SEGMENT:
        reports = [_segment_report(path)]
    elif kind == PathKind.MANIFEST:
        reports = [_manifest_report(path.parent)[0]]
    else:
        reports, left_over = _table_reports(path)
    for report in reports:
        _print_report(console, report)
    for unlisted in left_over:
        name = printable(str(unlisted), console)
        console.print(f"{name}: [yellow]left over[/], {_LEFT_OVER}")
    return 1 if any(report.problems for report in reports) else 0


def _print_report(console: Console, report: _FileReport) -> None:
    name = printable(str(report.path), console)
    if not report.problems:
        console.print(f"{name}: [green]ok[/], {printable(report.summary, console)}")
        return
    count = len(report.problems)
    console.print(f"{name}: [red]{count} {'fault' if count == 1 else 'faults'}[/]")
    for consequence, problems in groupby(report.problems, lambda fault: fault.consequence):
        for fault in problems:
            console.print(f"  {printable(fault.what, console)}")
        console.print(f"    {printable(consequence, console)}")


def _table_reports(folder: Path) -> tuple[list[_FileReport], list[Path]]:
    # Returns the reports on the manifest and the segments, and the other files of the folder.
    report, found = _manifest_report(folder)
    there = sorted(path.name for path in folder.iterdir())
    if found is None:
        # Without a manifest it is unknown which segments were the table: check all.
        names = [name for name in there if name.endswith(".seg")]
        left_over = []
    else:
        names = list(found.segments)
        left_over = [folder / name for name in there if name not in (manifest.NAME, *names)]
    segments = [_named_report(folder, name) for name in names]
    if found and not found.seconds and any(segment.seconds for segment in segments):
        report.add("the unit is the minute, but a rule has a day time above 1440", _WRITTEN_SO)
    return [report, *segments], left_over


def _manifest_report(folder: Path) -> tuple[_FileReport, manifest.Manifest | None]:
    report = _FileReport(folder / manifest.NAME)
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


def _named_report(folder: Path, name: str) -> _FileReport:
    report = _FileReport(folder / name)
    if not is_file_in(folder, name):
        report.add("the manifest names it, but there is no such file", _SEGMENT)
        return report
    try:
        return _segment_report(folder / name)
    except OSError as e:
        report.add(f"it cannot be read: {e.strerror}", _SEGMENT)
        return report


def _segment_report(path: Path) -> _FileReport:
    report = _FileReport(path)
    try:
        segment = SegmentFile(path)
    except CorruptionError as e:
        report.add(
            f"{e}: the {FOOTER} is damaged, or the file was cut or is not a segment", _SEGMENT
        )
        return report
    try:
        _SegmentCheck(segment, report).run()
    finally:
        segment.close()
    return report


class _SegmentCheck:
    # One pass over a segment, block by block.

    def __init__(self, segment: SegmentFile, report: _FileReport):
        self._segment = segment
        self._report = report
        self._last = b""  # the previous packed code
        self._codes = 0
        self._tombstones = 0
        self._all_readable = True  # so far every block was read to its end
        # For the current block: the first problem of each kind, and their number.
        self._first_of_kind: dict[str, _Problem] = {}
        self._counts: Counter[str] = Counter()

    def run(self) -> None:
        segment = self._segment
        for part in segment.corrupt_parts:
            self._report.add(f"{part} of {segment.name}: wrong checksum", _SEGMENT)
        count = segment.block_count
        for number in with_progress(range(count), segment.name, count):
            self._check_block(number, segment.block(number))
        if self._all_readable:
            self._check_counts()
        if count and INDEX not in segment.corrupt_parts:
            self._check_beyond()
        self._report.summary = ", ".join(
            f"{many} {what}{'' if many == 1 else 's'}"
            for many, what in (
                (segment.codes, "code"),
                (segment.tombstones, "tombstone"),
                (count, "block"),
            )
        )

    def _check_block(self, number: int, block: BlockContents) -> None:
        entries = block.entries
        for entry in entries:
            self._check_entry(number, entry)
        if entries and not block.fault and INDEX not in self._segment.corrupt_parts:
            for at in sorted({0, len(entries) // 2, len(entries) - 1}):
                self._check_lookup(entries[at])
        for kind, fault in self._first_of_kind.items():
            times = self._counts[kind]
            more = f" (the first of {times})" if times > 1 else ""
            self._report.add(
                f"in the block at {number * BLOCK}: {fault.what}{more}", fault.consequence
            )
        self._first_of_kind.clear()
        self._counts.clear()
        if block.fault:
            self._all_readable = False
            self._report.add(block.fault, _BLOCK)

    def _add_problem(self, kind: str, what: str, consequence: str) -> None:
        self._first_of_kind.setdefault(kind, _Problem(what, consequence))
        self._counts[kind] += 1

    def _check_entry(self, number: int, entry: SegmentEntry) -> None:
        key = entry.key
        if key <= self._last:
            what = f"{describe_key(key)} does not come after {describe_key(self._last)}"
            self._add_problem("order", what, _WRITTEN_SO)
        self._last = key
        try:
            codes.unpack(key)
        except codes.CodeError as e:
            self._add_problem("code", f"{describe_key(key)} is invalid: {e}", _WRITTEN_SO)
        if INDEX not in self._segment.corrupt_parts and self._indexed_block(key) != number:
            what = f"the index leads {describe_key(key)} to another block"
            self._add_problem("index", what, _WRITTEN_SO)
        if entry.number == TOMBSTONE:
            self._tombstones += 1
            return
        self._codes += 1
        if entry.rule_set is not None:
            self._check_rule_set(entry.key, entry.rule_set)
        elif RULE_SETS not in self._segment.corrupt_parts:
            what = f"{describe_key(key)} has rule set {entry.number}, which is not there"
            self._add_problem("no set", what, _ENTRY)

    def _check_rule_set(self, key: bytes, rule_set: bytes) -> None:
        try:
            rule_texts(rule_set)
        except ValueError as e:
            begin = rule_set[:12].hex(" ")
            what = f"{describe_key(key)} has an invalid rule set, {begin} ...: {e}"
            self._add_problem("rules", what, _WRITTEN_SO)
            return
        if not self._report.seconds:
            self._report.seconds = needs_seconds_unit(rule_set)

    def _indexed_block(self, key: bytes) -> int:
        try:
            return self._segment.block_of(key)
        except MALFORMED:
            return -1

    def _check_lookup(self, entry: SegmentEntry) -> None:
        segment = self._segment
        if entry.number != TOMBSTONE and entry.rule_set is None:
            return  # already reported
        try:
            state = segment.find(entry.key)
            fault = segment.fault if state == DAMAGED else ""
        except MALFORMED as e:
            state, fault = DAMAGED, str(e)
        if state == DAMAGED:
            self._add_problem(
                "lookup", f"a lookup of {describe_key(entry.key)} fails: {fault}", _WRITTEN_SO
            )
            return
        found = bytes(segment.rules[segment.at : segment.end]) if state == PRESENT else None
        if state == ABSENT or found != entry.rule_set:
            what = f"a lookup of {describe_key(entry.key)} comes to something else"
            self._add_problem("lookup", what, _WRITTEN_SO)

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
        # Separators after the last block would point to missing blocks.
        last = self._segment.block_count - 1
        if self._indexed_block(_HIGHEST) != last:
            what = "the index does not lead the highest code to the last block"
            self._report.add(what, _WRITTEN_SO)
