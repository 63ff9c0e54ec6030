"""The database sessions, errors and output of every `kalitka hub` command.

Exit status 2: invalid input; 1: not found. Either way nothing was written, and one line on stderr
says what to do. Text from people, cards or readers is escaped, so it cannot send control
characters to the terminal.
"""

import getpass
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site.inputs import error_sentence
from kalitka_hub.site.site_zone import missing_zone
from kalitka_hub.site.token_codes import HEX, Printed
from kalitka_hub.site.tokens import code_notes
from kalitka_hub.store.changes import COMMAND_LINE, write_transaction
from kalitka_hub.store.database import Database, open_database, open_existing

DatabasePath = Annotated[
    str,
    typer.Option(
        "--db",
        envvar=["KALITKA_DATABASE_URL", "KALITKA_HUB_DB"],
        metavar="PATH",
        help="Use this database: a file, or postgresql://USER:PASSWORD@HOST/NAME.",
    ),
]
DEFAULT_DATABASE = "kalitka-hub.sqlite"
UTC_HEAD = "(UTC)"  # the end of every heading of times
_BOXED_MAX = 1000  # rows in a box: laying out 50,000 takes most of a minute
_PADDED_MAX = 40  # columns of a terminal
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
NUMBER_MAX = 2**62  # within a database's signed 64 bits
Number = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, max=NUMBER_MAX, help="The number in `list`.")
]
ReaderCode = Annotated[str, typer.Argument(metavar="CODE", help="The reader's code.")]
TokenCode = Annotated[str, typer.Argument(metavar="CODE", help="The token's code.")]
PrintedForm = Annotated[
    str | None,
    typer.Option(
        "--printed",
        metavar="FORM",
        help="Convert numbers printed on cards, of this form: decimal8, decimal10, fc-number "
        "(077,30211 or 77:30211) or hex.",
    ),
]
Reversed = Annotated[
    bool,
    typer.Option("--reversed", help="Convert for scanners that send the bytes in reverse order."),
]
CardScanner = Annotated[
    str | None,
    typer.Option(
        "--scanner",
        metavar="PRESET",
        help="Convert for this scanner, such as wiegand26 or wiegand34; default the site's.",
    ),
]


# The database


@contextmanager
def closing_database(database: Database) -> Iterator[Database]:
    """Close a database at the end of the block."""
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_for_reading(db: str) -> Iterator[Session]:
    """Open a read session on an existing database, by path or URL."""
    with (
        errors_reported(),
        closing_database(open_existing(db)) as database,
        database.snapshot() as session,
    ):
        yield session


@contextmanager
def open_for_changes(db: str) -> Iterator[Session]:
    """Open a write transaction on an existing database, by path or URL."""
    with (
        errors_reported(),
        closing_database(open_existing(db)) as database,
        _changing(database) as session,
    ):
        yield session


@contextmanager
def open_or_create(db: str) -> Iterator[Session]:
    """Open a write transaction on a database, by path or URL; creates a missing database."""
    with (
        errors_reported(),
        closing_database(open_database(db)) as database,
        _changing(database) as session,
    ):
        yield session


@contextmanager
def _changing(database: Database) -> Iterator[Session]:
    with write_transaction(database, audit_author()) as session:
        yield session
        missing = missing_zone(session)
    if missing:
        print_stderr(missing)


def audit_author() -> str:
    """Return the author for the audit: the command line and the system's user."""
    try:
        return f"{COMMAND_LINE} ({getpass.getuser()})"
    except (ImportError, KeyError, OSError):
        # In a container the user id may have no name.
        return COMMAND_LINE


def printed_form(form: str | None, reverse: bool, scanner: str | None) -> Printed | None:
    """Return the form that the options declare, None for codes as scanners send them."""
    if form is None and scanner is not None:
        raise InvalidRequest("--scanner is for numbers printed on cards: give --printed too")
    if form is None and not reverse:
        return None
    return Printed(form or HEX, reverse, scanner)


def print_code_notes(session: Session) -> None:
    """Print what the author of the codes in this session should know, before it is committed."""
    for note in code_notes(session):
        print_stderr(note)


# Errors


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn the errors of a command into one line on stderr and an exit status."""
    try:
        yield
    except ValidationError as fault:
        print_stderr("; ".join(error_sentence(error) for error in fault.errors()))
        raise typer.Exit(2) from fault
    except UnicodeError as fault:
        print_stderr("the input is not valid UTF-8: look for odd characters")
        raise typer.Exit(2) from fault
    except InvalidRequest as fault:
        print_stderr(str(fault))
        raise typer.Exit(2) from fault
    except NotFound as fault:
        print_stderr(str(fault))
        raise typer.Exit(1) from fault
    except DatabaseError as fault:
        reason = " ".join(str(fault.orig).split())
        print_stderr(f"database error: {reason}; nothing was written, try again")
        raise typer.Exit(1) from fault


# Output


def print_line(text: str) -> None:
    """Print one line."""
    print(printable(text))


def print_stderr(text: str) -> None:
    """Print one line on stderr, so that a program reading stdout does not get it."""
    typer.echo(f"kalitka hub: {printable(text)}", err=True)


def printable(text: str) -> str:
    """Return `text` with every character escaped that is neither visible nor a blank."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]


def print_json(data: Any) -> None:
    """Print data as JSON, leaving letters of all scripts unescaped."""
    text = json.dumps(data, ensure_ascii=False, indent=1)
    # Apart from line ends, unprintable characters occur only inside strings.
    print("\n".join(map(_escaped_in_json, text.split("\n"))))


def _escaped_in_json(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def print_table(*columns: str, rows: Iterable[Iterable[object]], caption: str = "") -> None:
    """Print a table. None is an empty cell; a list takes one line per item.

    More than 1000 rows are printed in plain columns, without a box.
    """
    found = [[*map(_lines, row)] for row in rows]
    if len(found) > _BOXED_MAX:
        _print_plain(columns, found, caption)
        return
    table = Table(caption=caption or None)
    for column in columns:
        # Codes are copied from here: never shorten one. A time stays on one line.
        table.add_column(column, overflow="fold", no_wrap=column.endswith(UTC_HEAD))
    for row in found:
        table.add_row(*map(_cell, row))
    Console().print(table)


def _print_plain(columns: Sequence[str], rows: list[list[list[str]]], caption: str) -> None:
    widths = [cell_len(column) for column in columns]
    for row in rows:
        for at, lines in enumerate(row):
            widths[at] = max(widths[at], *map(cell_len, lines), 0)
    # A wider cell is still printed whole; it shifts the rest of its line.
    widths = [min(width, _PADDED_MAX) for width in widths]
    print(_plain_line(columns, widths))
    for row in rows:
        for cells in zip_longest(*row, fillvalue=""):
            print(_plain_line(cells, widths))
    if caption:
        print(caption)


def _plain_line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = (
        cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print the fields of one object, a name and a value per line."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, _cell(_lines(value)))
    Console().print(table)


def _lines(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    lines = value if isinstance(value, list) else str(value).split("\n")
    return [printable(str(line)) for line in lines]


def _cell(lines: Iterable[str]) -> Text:
    return Text("\n".join(lines))


def format_utc(seconds: int | None, form: str = "%Y-%m-%d %H:%M") -> str | None:
    """Format seconds since 1970 UTC, in UTC; None for None."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):{form}}"


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar of rows on a terminal; the total may be None (unknown)."""
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
    )

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, rows: shown.update(task, completed=done, total=rows)
