"""`kalitka table stats`: numbers and sizes of a table's contents, as a rich table.

Sizes are in bytes. "bytes a token" counts the codes and tombstones of the file, "bytes a code" the
codes of the merged table. "bytes in memory": rule sets and index, which an open segment holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kalitka.table.block import IN_PLACE, CorruptionError
from kalitka.table.manifest import Manifest
from kalitka_cli.table_files import (
    INDEX,
    RULE_SETS,
    PathKind,
    SegmentFile,
    for_each_path,
    kind_of,
    live_entries,
    load_manifest,
    open_segment,
    open_table,
    printable,
    with_progress,
)

_WIDE = 1000  # characters: room for as many segments as a manifest can name


@dataclass
class _Figures:
    # The figures of a segment, or the sum of several.
    codes: int = 0
    tombstones: int = 0
    blocks: int = 0
    blocks_size: int = 0
    used: int = 0  # bytes of entries in blocks
    sets_size: int = 0
    index_size: int = 0
    size: int = 0
    sets: int = 0
    in_place: int = 0

    def __add__(self, other: "_Figures") -> "_Figures":
        return _Figures(
            *(getattr(self, part.name) + getattr(other, part.name) for part in fields(self))
        )


_ROWS: tuple[tuple[str, Callable[[_Figures], str]], ...] = (
    ("codes", lambda of: f"{of.codes}"),
    ("tombstones", lambda of: f"{of.tombstones}"),
    ("blocks", lambda of: f"{of.blocks}"),
    ("bytes in blocks", lambda of: f"{of.blocks_size}"),
    ("fill of the blocks", lambda of: _share(of.used, of.blocks_size)),
    ("bytes in rule sets", lambda of: f"{of.sets_size}"),
    ("bytes in index", lambda of: f"{of.index_size}"),
    ("bytes in all", lambda of: f"{of.size}"),
    ("bytes a token", lambda of: _ratio(of.size, of.codes + of.tombstones)),
    ("interned rule sets", lambda of: f"{of.sets}"),
    ("rule sets in place", lambda of: f"{of.in_place}"),
    ("bytes in memory", lambda of: f"{of.sets_size + of.index_size}"),
)


def run(files: list[Path]) -> int:
    """Show each file's figures. Return the exit status: 1 for damage, 2 for not a table's file."""
    return for_each_path(files, partial(_show, Console(highlight=False)))


def _show(console: Console, path: Path) -> int:
    kind = kind_of(path)
    columns: dict[str, _Figures] = {}
    facts: dict[str, str] = {}
    if kind == PathKind.MANIFEST:
        facts = _facts(load_manifest(path.parent))
    elif kind == PathKind.SEGMENT:
        with open_segment(path) as segment:
            columns[segment.name] = _figures(segment)
    else:
        with open_table(path) as (found, segments):
            columns = {segment.name: _figures(segment) for segment in reversed(segments)}
            known = _count_known(path, segments)
        columns["sum"] = sum(columns.values(), _Figures())
        facts = _facts(found)
        facts["codes known"] = str(known)
        facts["bytes a code"] = _ratio(columns["sum"].size, known)
    _print(console, path, columns, facts)
    return 0


def _figures(segment: SegmentFile) -> _Figures:
    count = segment.block_count
    used = in_place = 0
    for number in with_progress(range(count), segment.name, count):
        block = segment.block(number)
        if block.fault:
            raise CorruptionError(block.fault)
        used += block.used
        in_place += sum(entry.number == IN_PLACE for entry in block.entries)
    return _Figures(
        segment.codes,
        segment.tombstones,
        count,
        segment.blocks[3],
        used,
        segment.sizes[RULE_SETS],
        segment.sizes[INDEX],
        segment.size,
        len(segment.sets),
        in_place,
    )


def _count_known(folder: Path, segments: list[SegmentFile]) -> int:
    # Returns the number of live codes of the merged segments (newest first).
    return sum(
        1
        for _ in with_progress(live_entries(segments), str(folder), sum(s.codes for s in segments))
    )


def _facts(found: Manifest) -> dict[str, str]:
    return {
        "minute": f"{found.minute}, {_time_of(found.minute)}",
        "generation": str(found.generation),
        "unit": "second" if found.seconds else "minute",
        "origin": str(found.origin),
    }


def _print(
    console: Console, path: Path, columns: dict[str, _Figures], facts: dict[str, str]
) -> None:
    table = Table("")
    for name in columns:
        table.add_column(printable(name, console), justify="right", overflow="fold")
    for label, shape in _ROWS:
        table.add_row(label, *(shape(of) for of in columns.values()))
    if not console.is_terminal:
        # A pipe or a file has no window: do not wrap.
        console.width = max(console.width, _WIDE)
    console.print(f"[bold]{printable(str(path), console)}[/]", soft_wrap=True)
    for label, fact in facts.items():
        console.print(f"{label + ':':13} {fact}", soft_wrap=True)
    if columns:
        console.print(table)


def _time_of(minute: int) -> str:
    try:
        return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "out of range"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _ratio(size: int, count: int) -> str:
    return f"{size / count:.2f}" if count else "-"
