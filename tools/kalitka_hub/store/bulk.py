"""Many rows at a time: by statements on the table, not as objects, at the speed of the database.

SQLite is fastest with one prepared statement that is run for each row. To PostgreSQL each run is
a message of its own, and a statement of thousands of parameters takes its driver long to write:
it is sent rows as one JSON text, which it takes apart itself, and values to look for as an array.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Table,
    TableValuedAlias,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.orm import Session

from kalitka_hub.store.models import Base

Rows = Sequence[dict[str, Any]]  # by the names of the columns, the same ones in each
_ROWS = "rows"
BATCH = 500  # rows in memory at a time, where there may be many
_Thing = TypeVar("_Thing")


def in_batches(things: Iterable[_Thing], size: int = BATCH) -> Iterator[list[_Thing]]:
    """Yield things in lists of at most `size`."""
    remaining = iter(things)
    while batch := list(islice(remaining, size)):
        yield batch


def insert_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Insert rows into the table of a model; None is NULL, also of JSON."""
    if not rows:
        return
    table, connection = cast(Table, model.__table__), session.connection()
    if _is_postgresql(connection):
        given = _json_rows(table, rows)
        statement = table.insert().from_select(list(rows[0]), select(given))
        connection.execute(statement, {_ROWS: _json(rows)})
        return
    nullable = {
        name: bindparam(name, type_=JSON(none_as_null=True))
        for name in rows[0]
        if isinstance(table.c[name].type, JSON)
    }
    connection.execute(table.insert().values(nullable) if nullable else table.insert(), rows)


def update_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Update rows by id."""
    if not rows:
        return
    table, connection = cast(Table, model.__table__), session.connection()
    names = [name for name in rows[0] if name != "id"]
    if _is_postgresql(connection):
        given = _json_rows(table, rows)
        statement = table.update().where(table.c.id == given.c.id)
        values = {name: given.c[name] for name in names}
        connection.execute(statement.values(values), {_ROWS: _json(rows)})
        return
    statement = table.update().where(table.c.id == bindparam("the_id"))
    values = [{"the_id": row["id"]} | {name: row[name] for name in names} for row in rows]
    connection.execute(statement.values({name: bindparam(name) for name in names}), values)


def in_values(session: Session, column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition that a column of a model has one of these values."""
    listed = list(values)
    if not _is_postgresql(session.connection()):
        return column.in_(listed)
    return column == any_(bindparam(None, listed, type_=ARRAY(column.type)))


def force_custom_plans(session: Session) -> None:
    """Have PostgreSQL plan each statement for its values, to the end of this transaction.

    A plan that it has made once for all assumes ten values for `in_values`, and compares thousands
    with each of a table's rows: 20,000 objects by 500 take minutes and not seconds.
    """
    connection = session.connection()
    if _is_postgresql(connection):
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _json_rows(table: Table, rows: Rows) -> TableValuedAlias:
    columns = [Column(name, table.c[name].type) for name in rows[0]]
    made = func.json_to_recordset(bindparam(_ROWS, type_=Text).cast(JSON)).table_valued(*columns)
    return made.render_derived(with_types=True)


def _json(rows: Rows) -> str:
    return json.dumps(rows, default=_bytea)


def _bytea(value: bytes) -> str:
    return rf"\x{value.hex()}"
