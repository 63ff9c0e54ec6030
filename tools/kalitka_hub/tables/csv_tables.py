"""The tables that are exported and imported as CSV: their columns, and how a cell is written.

A column is a field of what is written of a `resources.Resource`. One that a file leaves out stays
as it is, and so does one that a cell says as it is exported; an empty cell is none: no note, no
groups, all readers, closed all day. Windows are
written as on the command line, see `window_texts`. Whatever a table exports it imports again
without a change.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import fields
from kalitka_hub.kormitel.operator_models import KORMITEL
from kalitka_hub.site import local_time, schedules
from kalitka_hub.site.resources import RESOURCES, Resource
from kalitka_hub.site.schedules import HoursSetting, WindowSetting
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.site.tokens import key_of
from kalitka_hub.site.window_texts import (
    first_time,
    hours_of,
    hours_text,
    last_time,
    text_of,
    window_of,
)
from kalitka_hub.store.database import Database
from kalitka_hub.tables.csv_text import MARK, cell_of, items, row

PAGE = 500  # rows in memory at a time
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


class Column(NamedTuple):
    """A column. read: a cell to what the field takes, raises Refused; write: the other way.

    names: what the cell names, a kind of `csv_import`; None: nothing. as_shown: what was read to
    what the view has once it is written, raises Refused, is not asked of None; without it they are
    the same.
    """

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    names: str | None = None
    as_shown: Callable[[Session, Any], Any] | None = None


@dataclass(frozen=True)
class CsvTable:
    """A table: the resource it is of, and its columns. A file must have those `needed`.

    unique: columns that name the one that a row without an id is of; none of them: it is new.
    """

    resource: Resource
    columns: tuple[Column, ...]
    needed: tuple[str, ...]
    unique: tuple[str, ...] = ()

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


def _name(cell: str) -> str | None:
    return cell.strip() or None


def _written(value: object) -> str:
    return "" if value is None else str(value)


def _number(cell: str) -> int | None:
    if not cell.strip():
        return None
    if not (cell.strip().isascii() and cell.strip().isdigit()) or len(cell) > 18:
        raise InvalidRequest(f"{cell[:40]!r} is no number: write digits")
    return int(cell)


def _yes(cell: str) -> bool:
    known = _YES.get(cell.strip().lower())
    if known is None:
        raise InvalidRequest(f"{cell[:40]!r} is neither yes nor no: write one of them")
    return known


def _yes_or_nothing(cell: str) -> bool | None:
    return _yes(cell) if cell.strip() else None


def _yes_text(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _object_id(cell: str) -> str | None:
    return fields.key_of(cell) if cell.strip() else None


def _code(cell: str) -> str:
    if cell != cell.strip():
        # No scanner reads one, and nobody sees it.
        raise InvalidRequest(f"{cell[:40]!r} has blanks around a code: take them away")
    key_of(cell)
    return cell


def _codes(cell: str) -> list[str]:
    return [_code(item) for item in items(cell)]


def _items_or_none(cell: str) -> list[str] | None:
    return items(cell) or None


def _listed(values: list[str] | None) -> str:
    return cell_of(values or ())


def _windows(cell: str) -> list[WindowSetting]:
    return [window_of(item) for item in items(cell)]


def _windows_text(windows: list[WindowSetting]) -> str:
    return cell_of(map(text_of, windows))


def _first(cell: str) -> str | None:
    return first_time(cell.strip()) or None


def _first_shown(session: Session, text: str) -> str | None:
    zone = zone_of(session)
    return local_time.text_of(local_time.first_of(text, zone), zone)


def _last(cell: str) -> str | None:
    return last_time(cell.strip()) or None


def _last_shown(session: Session, text: str) -> str | None:
    zone = zone_of(session)
    return local_time.text_of(local_time.last_of(text, zone), zone)


def _hours(cell: str) -> list[HoursSetting]:
    return [hours_of(item) for item in items(cell)]


def _hours_text(hours: list[HoursSetting]) -> str:
    return cell_of(map(hours_text, hours))


def _texts(*names: str) -> Iterator[Column]:
    return (Column(name, _text, _written) for name in names)


_ID = Column("id", _number, _written)
_OBJECT_ID = Column("id", _object_id, _written)
_NAME = Column("name", _name, _written)
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
        RESOURCES["schedules"],
        (
            _NAME,
            _NOTE,
            Column("windows", _windows, _windows_text, as_shown=schedules.as_shown),
        ),
        ("name",),
    ),
    CsvTable(
        RESOURCES["holidays"],
        (
            _ID,
            Column("date", str.strip, str),
            _NAME,
            Column("schedule", _name, _written, "schedule"),
            Column("hours", _hours, _hours_text),
        ),
        ("date",),
        unique=("date", "schedule"),
    ),
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
            Column("first", _first, _written, as_shown=_first_shown),
            Column("last", _last, _written, as_shown=_last_shown),
        ),
        ("people", "readers", "schedule"),
    ),
    CsvTable(
        KORMITEL["badges"],
        (
            _OBJECT_ID,
            *_texts("name", "first_name", "last_name", "number"),
            Column("feed", _name, _written),
            *_texts("qr"),
            Column("is_blocked", _yes_or_nothing, _yes_text),
            *_texts("kitchen", "gender", "phone", "batch", "role", "position", "comment"),
            Column("vegan", _yes_or_nothing, _yes_text),
            Column("infant", _yes_or_nothing, _yes_text),
        ),
        ("id",),
    ),
    CsvTable(
        KORMITEL["arrivals"],
        (
            _OBJECT_ID,
            Column("badge", _object_id, _written, "badge"),
            Column("status", _name, _written),
            *_texts("arrival_date", "departure_date", "arrival_transport", "departure_transport"),
        ),
        ("id",),
    ),
)
TABLES = {table.resource.name: table for table in _TABLES}
