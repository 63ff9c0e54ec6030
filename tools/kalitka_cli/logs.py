"""`kalitka logs`: a reader's access log, as a table, as CSV or as JSON lines.

The log comes over USB, from a flash image or from a copied folder; it is only read. A code may be
any bytes, so unprintable characters are escaped as in Python. In CSV no code may become a formula
of a spreadsheet: a code that begins like a formula or with an apostrophe gets an apostrophe before
it, and a semicolon is escaped, since some spreadsheets begin a new cell there.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kalitka.access.timezone import Zone, offset_if_twice
from kalitka.journal.access_log import FOLDER
from kalitka_cli import flash_image, log_over_usb
from kalitka_cli.log_entries import DecodedLog, LogCorruptionError, LogEntry, NotALog, decode_log
from kalitka_cli.mpremote import DeviceError
from kalitka_cli.table_files import print_error
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.local_time import offset_text
from kalitka_hub.site.zone import check_zone

_EPOCH = datetime(1970, 1, 1)
_COLUMNS = ("number", "time", "code", "state", "reason", "source", "sent")
_FORMULA = "=+-@'\uff1d\uff0b\uff0d\uff20"  # the last four are the full-width forms
_CODE_WIDTH = 40  # a longer code shifts the rest of its line
_AT_ONCE = 200  # lines printed at a time


class _Clocks(NamedTuple):
    # offset: of seconds since 1970 UTC, in minutes east of UTC. twice: whether clocks with that
    # offset show this local time twice, as they do when they are put back.
    offset: Callable[[int], int]
    twice: Callable[[int], bool]


def run(
    source: Path | None,
    port: str | None,
    output_format: str,
    last: int | None,
    unsent: bool,
    tz: str | None,
) -> int:
    """Show a log. Return the exit status: 1 for damage or a failed device, 2 if it is not a log.

    source: an image or a folder; None for the reader at `port`, None for the only device. last:
    only the newest so many entries. unsent: only entries that the server has not acknowledged.
    tz: a zone's name or POSIX string; None for UTC.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    name = str(source) if source else "the log"
    runs_again = True
    try:
        clocks = _clocks_of(tz)
        if source:
            files = _read_files(source)
        else:
            files, runs_again = log_over_usb.fetch_log(port, last, unsent, console)
        log = decode_log(files)
    except InvalidRequest as fault:
        return print_error(f"--tz: {fault}", 2)
    except NotALog as fault:
        return print_error(f"{name}: {fault}" if source else str(fault), 2)
    except LogCorruptionError as fault:
        return print_error(f"{name}: {fault}", 1)
    except DeviceError as fault:
        return print_error(str(fault), 1)
    except OSError as fault:
        return print_error(f"{name}: {fault.strerror or fault}", 2)
    except KeyboardInterrupt:
        return print_error("interrupted", 130)
    chosen = [entry for entry in log.entries if not (unsent and entry.sent)]
    if last:
        chosen = chosen[-last:]
    try:
        if output_format == "table":
            _print_table(chosen, log, clocks, tz or "UTC")
        else:
            lines = _csv_lines if output_format == "csv" else _json_lines
            typer.echo("".join(lines(chosen, clocks)).encode(), nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader of the pipe has closed it
    except OSError as fault:
        # Drop what is still buffered: flushing it at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return print_error(f"the output cannot be written: {fault.strerror or fault}", 1)
    return max(_print_warnings(log, name), 0 if runs_again else 1)


def _read_files(path: Path) -> dict[str, bytes | None]:
    if not path.is_dir():
        return flash_image.read_folder(path.read_bytes(), FOLDER)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    files: dict[str, bytes | None] = {}
    for file in [*folder.glob("*"), *folder.glob("old/*")]:
        if file.is_file():
            try:
                files[file.relative_to(folder).as_posix()] = file.read_bytes()
            except OSError:
                files[file.relative_to(folder).as_posix()] = None
    return files


def _clocks_of(tz: str | None) -> _Clocks:
    # Raises InvalidRequest. A named zone is looked up by name: the entries are of the past, and a
    # POSIX string holds only from now on.
    posix = check_zone("UTC0" if tz is None else tz)
    if tz not in (None, posix):
        place = ZoneInfo(str(tz))

        def offset_by_name(at: int) -> int:
            offset = datetime.fromtimestamp(at, place).utcoffset()
            return int(offset.total_seconds() // 60) if offset else 0

        def twice_by_name(at: int) -> bool:
            local = datetime.fromtimestamp(at, place)
            return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()

        return _Clocks(offset_by_name, twice_by_name)
    zone = Zone(posix)

    def offset_by_string(at: int) -> int:
        zone.update(at // 60)
        return zone.offset

    return _Clocks(offset_by_string, lambda at: bool(offset_if_twice(at // 60, zone)))


def _local(at: int, minutes: int) -> str:
    return (_EPOCH + timedelta(seconds=at, minutes=minutes)).isoformat()


def _iso(at: int | None, clocks: _Clocks) -> str | None:
    if at is None:
        return None
    minutes = clocks.offset(at)
    return _local(at, minutes) + offset_text(minutes)


def _values(entry: LogEntry, time: str | None) -> tuple:
    # In the order of the columns.
    texts = entry.code, entry.state, entry.reason, entry.source
    return (entry.number, time, *texts, entry.sent)


def _json_lines(entries: list[LogEntry], clocks: _Clocks) -> Iterator[str]:
    for entry in entries:
        values = _values(entry, _iso(entry.at, clocks))
        yield json.dumps(dict(zip(_COLUMNS, values, strict=True)), ensure_ascii=False) + "\n"


def _csv_lines(entries: list[LogEntry], clocks: _Clocks) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries:
        number, time, code, *texts, sent = _values(entry, _iso(entry.at, clocks))
        code = code.replace(";", r"\x3b")
        if code and code[0] in _FORMULA:
            code = "'" + code
        writer.writerow((number, time or "", code, *texts, "yes" if sent else "no"))
    yield text.getvalue()


def _print_table(entries: list[LogEntry], log: DecodedLog, clocks: _Clocks, place: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    rows = [_COLUMNS, *(_cells(entry, clocks) for entry in entries)]
    # rich's own Table takes half a minute for a full log.
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    widths[2] = min(widths[2], _CODE_WIDTH)
    lines = (_line(row, widths) for row in rows)
    console.print(_printable(next(lines), console), style="bold")
    for at in range(0, len(entries), _AT_ONCE):
        text = Text()
        for entry, line in zip(entries[at : at + _AT_ONCE], lines, strict=False):
            style = "red" if entry.state == "denied" else ""
            text.append(_printable(line, console) + "\n", style)
        console.print(text, end="")
    unsent = sum(not entry.sent for entry in entries)
    whose = f" of the log {log.id}" if log.id else ""
    summary = f"{len(entries)} entries{whose}, {unsent} of them not sent; times: {place}"
    console.print(Text(_printable(summary, console), "dim"))


def _cells(entry: LogEntry, clocks: _Clocks) -> tuple[str, ...]:
    time = "clock not set"
    if entry.at is not None:
        minutes = clocks.offset(entry.at)
        offset = offset_text(minutes) if clocks.twice(entry.at) else ""
        time = _local(entry.at, minutes).replace("T", " ") + offset
    number, _, *texts, sent = _values(entry, time)
    return (str(number), time, *texts, "yes" if sent else "no")


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = zip(row, widths, strict=True)
    return "  ".join(text + " " * (width - cell_len(text)) for text, width in cells).rstrip()


def _printable(text: str, console: Console) -> str:
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _print_warnings(log: DecodedLog, name: str) -> int:
    # Prints lost, unknown and damaged records on stderr. Returns the exit status.
    if log.lost:
        print_error(
            f"{name}: up to {log.lost} entries were evicted before the server had them: the log "
            "was full",
            0,
        )
    if log.unknown_records:
        print_error(
            f"{name}: left out {log.unknown_records} records of a later firmware: read the log "
            "with that version's kalitka logs",
            0,
        )
    for damage in log.damage:
        print_error(f"{name}: {damage}", 1)
    return 1 if log.damage else 0
