"""The CSV tables: their columns, and the text form of each cell.

A column is a field of a resource's setting. A column missing from the file keeps its values, and
so does a cell equal to its export; an empty cell means none: no note, no groups, all readers,
closed all day. Time windows are written as on the command line, see `window_texts`. An exported
table can be imported again without a change, also if a spreadsheet saved it: codes that it would
take for numbers or dates are in quotes, see `csv_text`.
"""

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.fields import ARRIVALS, BADGES, FIELDS, FieldType, object_key
from kalitka_hub.kormitel.operator_models import KORMITEL
from kalitka_hub.kormitel.repository import known_keys
from kalitka_hub.site import local_time, people, schedules
from kalitka_hub.site.readers import ALL_READERS, groups_by_label
from kalitka_hub.site.resources import RESOURCES, Bulk, Resource
from kalitka_hub.site.schedules import HoursSetting, WindowSetting
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.site.tokens import missing_people
from kalitka_hub.site.window_texts import (
    first_time,
    hours_text,
    last_time,
    parse_hours,
    parse_window,
    window_text,
)
from kalitka_hub.store.database import Database
from kalitka_hub.tables.csv_text import (
    MARK,
    format_row,
    from_text_cell,
    join_items,
    split_items,
    text_cell,
)

_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


class Reference(NamedTuple):
    """What a cell names. noun: for messages. missing: returns the names that do not exist."""

    noun: str
    missing: Callable[[Session, set[Any]], Collection[Any]]


class Column(NamedTuple):
    """A column of a table.

    read: parses a cell to the field's value; raises InvalidRequest. write: formats a value as a
    cell. names: what the cell names, None if it names nothing. normalize: turns a parsed value,
    never None, into the value that the view will have once it is stored; raises InvalidRequest;
    None if both are the same. is_code: the values are token codes as people write them, which the
    import reads with `tokens.CodeReader`.
    """

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    names: Reference | None = None
    normalize: Callable[[Session, Any], Any] | None = None
    is_code: bool = False


@dataclass(frozen=True)
class CsvTable:
    """A table of one kind of resource.

    needed: columns that a file must have. unique: columns that identify the existing resource for
    a row without an id; empty: such a row is always new.
    """

    resource: Resource
    columns: tuple[Column, ...]
    needed: tuple[str, ...]
    unique: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The column with the key of the row's resource."""
        return self.resource.key

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def table_of(name: str) -> CsvTable:
    """Return the table of this name. Raises NotFound."""
    table = TABLES.get(name)
    if table is None:
        raise NotFound(f"{name[:40]!r} is not a CSV table: the tables are {', '.join(TABLES)}")
    return table


def export(database: Database, name: str, separator: str = ",") -> Generator[bytes, None, None]:
    """Yield a table as CSV, in parts; in UTF-8 with a byte order mark for spreadsheets.

    The export is one snapshot of the database and blocks no writer. Raises NotFound.
    """
    table = table_of(name)
    header = MARK + format_row((column.name for column in table.columns), separator)
    yield header.encode()
    with database.snapshot() as session:
        for views in table.resource.pages(session):
            yield "".join(_row(table, view, separator) for view in views).encode()


def _row(table: CsvTable, view: Any, separator: str) -> str:
    return format_row((one.write(getattr(view, one.name)) for one in table.columns), separator)


def _parse_text(cell: str) -> str | None:
    return cell or None


def _parse_name(cell: str) -> str | None:
    return cell.strip() or None


def _plain_text(value: object) -> str:
    return "" if value is None else str(value)


def _parse_number(cell: str) -> int | None:
    if not cell.strip():
        return None
    if not (cell.strip().isascii() and cell.strip().isdigit()) or len(cell) > 18:
        raise InvalidRequest(f"invalid number {cell[:40]!r}: write digits")
    return int(cell)


def _parse_flag(cell: str) -> bool:
    known = _FLAGS.get(cell.strip().lower())
    if known is None:
        raise InvalidRequest(f"{cell[:40]!r} is neither yes nor no: write yes or no")
    return known


def _parse_optional_flag(cell: str) -> bool | None:
    return _parse_flag(cell) if cell.strip() else None


def _flag_text(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _parse_object_id(cell: str) -> str | None:
    return object_key(cell) if cell.strip() else None


def _parse_codes(cell: str) -> list[str]:
    return [from_text_cell(item) for item in split_items(cell)]


def _codes_or_none(cell: str) -> list[str] | None:
    return _parse_codes(cell) or None


def _codes_text(values: list[str] | None) -> str:
    return join_items(map(text_cell, values or ()))


def _list_text(values: list[str] | None) -> str:
    return join_items(values or ())


def _parse_windows(cell: str) -> list[WindowSetting]:
    return [parse_window(item) for item in split_items(cell)]


def _windows_text(windows: list[WindowSetting]) -> str:
    return join_items(map(window_text, windows))


def _parse_first(cell: str) -> str | None:
    return first_time(cell.strip()) or None


def _normalize_first(session: Session, text: str) -> str | None:
    zone = zone_of(session)
    return local_time.local_text(local_time.first_minute_of(text, zone), zone)


def _parse_last(cell: str) -> str | None:
    return last_time(cell.strip()) or None


def _normalize_last(session: Session, text: str) -> str | None:
    zone = zone_of(session)
    return local_time.local_text(local_time.last_minute_of(text, zone), zone)


def _parse_hours(cell: str) -> list[HoursSetting]:
    return [parse_hours(item) for item in split_items(cell)]


def _hours_text(hours: list[HoursSetting]) -> str:
    return join_items(map(hours_text, hours))


def _object_table(kind: str) -> CsvTable:
    """Return the table of a kind of Kormitel's objects."""
    fields = sorted((one for one in FIELDS[kind].values() if one.csv), key=attrgetter("csv"))
    columns = (
        _QR
        if field.name == "qr"
        else Column(
            field.name,
            _READ.get(field.type, _parse_text),
            _flag_text if field.type == "flag" else _plain_text,
            _REFERENCES[field.name] if field.type == "reference" else None,
        )
        for field in fields
    )
    return CsvTable(KORMITEL[kind], (_OBJECT_ID, *columns), ("id",))


_READ: dict[FieldType, Callable[[str], Any]] = {
    "number": _parse_number,
    "flag": _parse_optional_flag,
    "reference": _parse_object_id,
    "choice": _parse_name,
}


def _missing_badges(session: Session, names: set[Any]) -> set[Any]:
    keys = {name: object_key(name) for name in names}
    known = known_keys(session, BADGES, keys.values())
    return {name for name, key in keys.items() if key not in known}


def _missing_labels(session: Session, names: set[str]) -> set[str]:
    return names - groups_by_label(session).keys()


def _one(noun: str, resource: Resource) -> Reference:
    return Reference(
        noun, lambda session, names: names - resource.find_many(session, names).keys()
    )


_QR = Column(
    "qr",
    lambda cell: _parse_text(from_text_cell(cell)),
    lambda value: "" if value is None else text_cell(str(value)),
)
_BADGE = Reference("badge", _missing_badges)
_REFERENCES = {"badge": _BADGE}  # by the name of the field
_PERSON = Reference("person", missing_people)
_PERSON_GROUP = _one("group of people", RESOURCES["person-groups"])
_READER = _one("reader", RESOURCES["readers"])
_READER_GROUP = _one("group of readers", RESOURCES["reader-groups"])
_READERS = Reference("reader or group of readers", _missing_labels)
_READERS_OR_ALL = Reference(
    "reader, group of readers or *",
    lambda session, names: _missing_labels(session, names) - {ALL_READERS},
)
_SCHEDULE = _one("schedule", RESOURCES["schedules"])

_ID = Column("id", _parse_number, _plain_text)
_OBJECT_ID = Column("id", _parse_object_id, _plain_text)
_NAME = Column("name", _parse_name, _plain_text)
_NOTE = Column("note", _parse_text, _plain_text)
_TABLES = (
    CsvTable(
        replace(
            RESOURCES["people"],
            setting=people.PersonRecord,
            bulk=Bulk(people.find_people, people.write_people, people.remove_people),
        ),
        (
            _ID,
            _NAME,
            _NOTE,
            Column("groups", split_items, _list_text, _PERSON_GROUP),
            Column("tokens", _parse_codes, _codes_text, is_code=True),
        ),
        ("name",),
    ),
    CsvTable(
        RESOURCES["tokens"],
        (
            Column("code", from_text_cell, text_cell, is_code=True),
            Column("person", _parse_number, _plain_text, _PERSON),
            _NAME,
            Column("blocked", _parse_flag, lambda value: "yes" if value else "no"),
            Column("rules", split_items, _list_text),
            Column("readers", _codes_or_none, _codes_text, _READERS),
        ),
        ("code",),
    ),
    CsvTable(RESOURCES["person-groups"], (_NAME, _NOTE), ("name",)),
    CsvTable(
        RESOURCES["schedules"],
        (
            _NAME,
            _NOTE,
            Column(
                "windows", _parse_windows, _windows_text, normalize=schedules.normalize_windows
            ),
        ),
        ("name",),
    ),
    CsvTable(
        RESOURCES["holidays"],
        (
            _ID,
            Column("date", str.strip, str),
            _NAME,
            Column("schedule", _parse_name, _plain_text, _SCHEDULE),
            Column("hours", _parse_hours, _hours_text, normalize=schedules.normalize_hours),
        ),
        ("date",),
        unique=("date", "schedule"),
    ),
    CsvTable(
        RESOURCES["readers"],
        (
            Column("code", from_text_cell, text_cell),
            _NAME,
            _NOTE,
            Column("groups", split_items, _list_text, _READER_GROUP),
        ),
        ("code",),
    ),
    CsvTable(
        RESOURCES["reader-groups"],
        (_NAME, _NOTE, Column("readers", _parse_codes, _codes_text, _READER)),
        ("name",),
    ),
    CsvTable(
        RESOURCES["grants"],
        (
            _ID,
            Column("people", str, str, _PERSON_GROUP),
            Column("readers", from_text_cell, text_cell, _READERS_OR_ALL),
            Column("schedule", str, str, _SCHEDULE),
            Column("first", _parse_first, _plain_text, normalize=_normalize_first),
            Column("last", _parse_last, _plain_text, normalize=_normalize_last),
        ),
        ("people", "readers", "schedule"),
    ),
    _object_table(BADGES),
    _object_table(ARRIVALS),
)
TABLES = {table.resource.name: table for table in _TABLES}
