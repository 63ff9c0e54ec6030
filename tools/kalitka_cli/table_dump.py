"""`kalitka table dump`: what the files of a table say, as lines of the wire format on stdout.

    CODE_/RULE       one rule of a code; `CODE_/` is a code without a rule that was understood
    %deleted CODE    a tombstone; no code has a `%`, and no sync answer such a line

Codes are written as the bytes that they are. A whole table comes as a full sync answer, which
another reader could be fed with, and so only if all of it could be read.
"""

from collections.abc import Iterator
from pathlib import Path

import typer

from kalitka.table import codes
from kalitka.table.block import TOMBSTONE, CorruptionError
from kalitka_cli.table_files import (
    RUBBISH,
    Entry,
    Kind,
    SegmentFile,
    complain,
    for_each,
    kind_of,
    live,
    load_manifest,
    name_of,
    needs_seconds,
    opened,
    opened_table,
    texts_of,
    tracked,
)


def run(files: list[Path]) -> int:
    """Dump each file. Returns the exit status: 1 for damage, 2 for what is no file of a table."""
    return for_each(files, _dump)


def _dump(path: Path) -> int:
    kind = kind_of(path)
    faults: list[str] = []
    if kind == Kind.TABLE:
        text = _answer(path)
    elif kind == Kind.SEGMENT:
        with opened(path) as segment:
            text = b"".join(_segment_lines(segment, faults))
    else:
        # As it is, whole or not: it is text already.
        text = path.read_bytes()
        try:
            load_manifest(path.parent)
        except CorruptionError as e:
            faults.append(str(e))
    typer.echo(text, nl=False)
    for fault in faults:
        complain(f"{path}: {fault}", 1)
    return 1 if faults else 0


def _segment_lines(segment: SegmentFile, faults: list[str]) -> Iterator[bytes]:
    # All that can be read; the rest becomes faults.
    count = segment.block_count
    for number in tracked(range(count), segment.name, count):
        block = segment.block(number)
        for entry in block.entries:
            try:
                yield _lines(entry)
            except RUBBISH as e:
                faults.append(f"left out {name_of(entry.key)}: {e}")
        if block.fault:
            faults.append(f"left out what follows: {block.fault}")


def _answer(folder: Path) -> bytes:
    rule_sets = set()
    with opened_table(folder) as (found, segments):
        lines = [b"%d%%%%\n" % found.minute]
        total = sum(segment.codes for segment in segments)
        try:
            for entry in tracked(live(segments), str(folder), total):
                lines.append(_lines(entry))
                rule_sets.add(entry.rule_set)
        except RUBBISH as e:
            raise CorruptionError(f"an entry is none that the firmware writes: {e}") from None
    if found.seconds and not any(needs_seconds(rule_set) for rule_set in rule_sets):
        complain(
            f"{folder}: its day times are in seconds, which no rule of it shows: a reader that is "
            'fed with this needs the setting day_time_unit "second"',
            0,
        )
    return b"".join(lines)


def _lines(entry: Entry) -> bytes:
    code = codes.unpack(entry.key)
    if entry.number == TOMBSTONE:
        return b"%%deleted %s\n" % code
    if entry.rule_set is None:
        raise ValueError(f"there is no rule set {entry.number}")
    return b"".join(b"%s_/%s\n" % (code, text) for text in texts_of(entry.rule_set) or [b""])
