"""The tables that are exported and imported as CSV: their columns, and how a cell is written.

A column is a field of what is written of a `resources.Resource`. One that a file leaves out stays
as it is; an empty cell is none: no note, no groups, all readers. Whatever a table exports it
imports again without a change. Schedules and holidays hold lists of windows, which no row has.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

from kalitka_hub.faults import NotFound, Refused
from kalitka_hub.site.resources import RESOURCES, Resource
from kalitka_hub.site.tokens import key_of
from kalitka_hub.store.database import Database
from kalitka_hub.tables.csv_text import MARK, cell_of, items, row

PAGE = 500  # rows in memory at a time
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


class Column(NamedTuple):
    """A column. read: a cell to what the field takes, raises Refused; written: the other way.

    names: what the cell names, a kind of `csv_import`; None: nothing.
    """

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    names: str | None = None


@dataclass(frozen=True)
class CsvTable:
    """A table: the resource it is of, and its columns. A file must have those `needed`."""

    resource: Resource
    columns: tuple[Column, ...]
    needed: tuple[str, ...]

    @property
    def key(self) -> str:
        """The column that names the one that a row is of."""
        return self.resource.key

    def column(self, name: str) -> Column | None:
        """Return the column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def table_of(name: str) -> CsvTable:
    """Return the table of this name. Raises NotFound."""
    table = TABLES.get(name)
    if table is None:
        raise NotFound(f"{name[:40]!r} is no table of CSV: there are {', '.join(TABLES)}")
    return table


def exported(database: Database, name: str, separator: str = ",") -> Generator[bytes, None, None]:
    """Yield a table as CSV in UTF-8 with its mark, by which spreadsheets know it, in parts.

    It is one state of the database; nobody waits for whoever reads it. Raises NotFound.
    """
    table = table_of(name)
    header = MARK + row((column.name for column in table.columns), separator)
    yield header.encode()
    with database.snapshot() as session:
        found = table.resource.list(session, limit=PAGE)
        while found:
            yield "".join(_row(table, view, separator) for view in found).encode()
            found = table.resource.list(session, getattr(found[-1], table.key), PAGE)


def _row(table: CsvTable, view: Any, separator: str) -> str:
    return row((one.write(getattr(view, one.name)) for one in table.columns), separator)


def _text(cell: str) -> str | None:
    return cell or None


def _written(value: object) -> str:
    return "" if value is None else str(value)


def _number(cell: str) -> int | None:
    if not cell.strip():
        return None
    if not (cell.strip().isascii() and cell.strip().isdigit()) or len(cell) > 18:
        raise Refused(f"{cell[:40]!r} is no number: write digits")
    return int(cell)


def _yes(cell: str) -> bool:
    known = _YES.get(cell.strip().lower())
    if known is None:
        raise Refused(f"{cell[:40]!r} is neither yes nor no: write one of them")
    return known


def _code(cell: str) -> str:
    if cell != cell.strip():
        # No scanner reads one, and nobody sees it.
        raise Refused(f"{cell[:40]!r} has blanks around a code: take them away")
    key_of(cell)
    return cell


def _codes(cell: str) -> list[str]:
    return [_code(item) for item in items(cell)]


def _items_or_none(cell: str) -> list[str] | None:
    return items(cell) or None


def _listed(values: list[str] | None) -> str:
    return cell_of(values or ())


_ID = Column("id", _number, _written)
_NAME = Column("name", _text, _written)
_NOTE = Column("note", _text, _written)
_TABLES = (
    CsvTable(
        RESOURCES["people"],
        (
            _ID,
            _NAME,
            _NOTE,
            Column("groups", items, _listed, "group of people"),
            Column("tokens", _codes, _listed),
        ),
        ("name",),
    ),
    CsvTable(
        RESOURCES["tokens"],
        (
            Column("code", _code, str),
            Column("person", _number, _written, "person"),
            _NAME,
            Column("blocked", _yes, lambda value: "yes" if value else "no"),
            Column("rules", items, _listed),
            Column("readers", _items_or_none, _listed, "reader or group of readers"),
        ),
        ("code",),
    ),
    CsvTable(RESOURCES["person-groups"], (_NAME, _NOTE), ("name",)),
    CsvTable(
        RESOURCES["readers"],
        (
            Column("code", str, str),
            _NAME,
            _NOTE,
            Column("groups", items, _listed, "group of readers"),
        ),
        ("code",),
    ),
    CsvTable(
        RESOURCES["reader-groups"],
        (_NAME, _NOTE, Column("readers", items, _listed, "reader")),
        ("name",),
    ),
    CsvTable(
        RESOURCES["grants"],
        (
            _ID,
            Column("people", str, str, "group of people"),
            Column("readers", str, str, "reader, group of readers or *"),
            Column("schedule", str, str, "schedule"),
            Column("first", _text, _written),
            Column("last", _text, _written),
        ),
        ("people", "readers", "schedule"),
    ),
)
TABLES = {table.resource.name: table for table in _TABLES}
