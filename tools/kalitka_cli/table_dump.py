"""`kalitka table dump`: the contents of a table's files, as lines of the wire format on stdout.

    CODE_/RULE       one rule of a code; `CODE_/` is a code without any understood rule
    %deleted CODE    a tombstone; no code contains `%`, and no sync answer has such a line

Codes are written as raw bytes. A whole table becomes a full sync answer that another reader can
take, and is therefore written only if all of it is readable.
"""

from collections.abc import Iterator
from pathlib import Path

import typer

from kalitka.table import codes
from kalitka.table.block import TOMBSTONE, CorruptionError
from kalitka_cli.table_files import (
    MALFORMED,
    PathKind,
    SegmentEntry,
    SegmentFile,
    describe_key,
    for_each_path,
    kind_of,
    live_entries,
    load_manifest,
    needs_seconds_unit,
    open_segment,
    open_table,
    print_error,
    rule_texts,
    with_progress,
)


def run(files: list[Path]) -> int:
    """Dump each file. Return the exit status: 1 for damage, 2 for a file that is not a table's."""
    return for_each_path(files, _dump)


def _dump(path: Path) -> int:
    kind = kind_of(path)
    faults: list[str] = []
    if kind == PathKind.TABLE:
        text = _answer(path)
    elif kind == PathKind.SEGMENT:
        with open_segment(path) as segment:
            text = b"".join(_segment_lines(segment, faults))
    else:
        # Already text: print it unaltered, even if damaged.
        text = path.read_bytes()
        try:
            load_manifest(path.parent)
        except CorruptionError as e:
            faults.append(str(e))
    typer.echo(text, nl=False)
    for fault in faults:
        print_error(f"{path}: {fault}", 1)
    return 1 if faults else 0


def _segment_lines(segment: SegmentFile, faults: list[str]) -> Iterator[bytes]:
    # Yields all readable entries; the rest goes to `faults`.
    count = segment.block_count
    for number in with_progress(range(count), segment.name, count):
        block = segment.block(number)
        for entry in block.entries:
            try:
                yield _lines(entry)
            except MALFORMED as e:
                faults.append(f"left out {describe_key(entry.key)}: {e}")
        if block.fault:
            faults.append(f"left out what follows: {block.fault}")


def _answer(folder: Path) -> bytes:
    rule_sets = set()
    with open_table(folder) as (found, segments):
        lines = [b"%d%%%%\n" % found.minute]
        total = sum(segment.codes for segment in segments)
        try:
            for entry in with_progress(live_entries(segments), str(folder), total):
                lines.append(_lines(entry))
                rule_sets.add(entry.rule_set)
        except MALFORMED as e:
            raise CorruptionError(f"an entry is not one that the firmware writes: {e}") from None
    if found.seconds and not any(needs_seconds_unit(rule_set) for rule_set in rule_sets):
        print_error(
            f"{folder}: its day times are in seconds, though no rule shows it: a reader that "
            'takes this answer needs the setting day_time_unit "second"',
            0,
        )
    return b"".join(lines)


def _lines(entry: SegmentEntry) -> bytes:
    code = codes.unpack(entry.key)
    if entry.number == TOMBSTONE:
        return b"%%deleted %s\n" % code
    if entry.rule_set is None:
        raise ValueError(f"there is no rule set {entry.number}")
    return b"".join(b"%s_/%s\n" % (code, text) for text in rule_texts(entry.rule_set) or [b""])
