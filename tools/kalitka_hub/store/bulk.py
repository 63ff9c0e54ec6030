"""Bulk reads and writes: statements on tables instead of objects, at the database's speed.

SQLite is fastest with one prepared statement that runs for each row. On PostgreSQL every run is a
message of its own, and its driver is slow to write a statement of thousands of parameters: there
rows are sent as one JSON text, which the server takes apart, and values to look up as an array.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
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
    delete,
    func,
    select,
)
from sqlalchemy.orm import Session

from kalitka_hub.store.models import Base

Rows = Sequence[dict[str, Any]]  # by column name; every row has the same columns
_ROWS = "rows"
BATCH = 500  # rows in memory at a time: the bound of bulk reads and writes
_Thing = TypeVar("_Thing")


def in_batches(things: Iterable[_Thing], size: int = BATCH) -> Iterator[list[_Thing]]:
    """Yield the things in lists of at most `size`."""
    remaining = iter(things)
    while batch := list(islice(remaining, size)):
        yield batch


def insert_rows(session: Session, model: type[Base], rows: Rows) -> None:
    """Insert rows into a model's table. None is SQL NULL, in JSON columns too."""
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


def rows_by_owner(
    session: Session, model: type[Base], owners: Iterable[int]
) -> dict[int, set[tuple[Any, ...]]]:
    """Return the rows of these owners, the ids in the first column, as tuples of the rest."""
    owner, *others = _attributes(model)
    found: dict[int, set[tuple[Any, ...]]] = defaultdict(set)
    mine = in_values(session, owner, owners)
    for id, *row in session.execute(select(owner, *others).where(mine)):
        found[id].add(tuple(row))
    return found


def replace_rows(
    session: Session, model: type[Base], wanted: Mapping[int, Set[tuple[Any, ...]]]
) -> list[int]:
    """Give each owner the wanted rows and no others; return the owners whose rows differed.

    wanted: by owner, as in `rows_by_owner`.
    """
    differing = []
    for batch in in_batches(wanted.items()):
        differing += _replace_batch(session, model, dict(batch))
    return differing


def _replace_batch(
    session: Session, model: type[Base], wanted: Mapping[int, Set[tuple[Any, ...]]]
) -> list[int]:
    current = rows_by_owner(session, model, wanted)
    differing = [id for id, rows in wanted.items() if rows != current[id]]
    if differing:
        attributes = _attributes(model)
        mine = in_values(session, attributes[0], differing)
        session.execute(delete(model).where(mine))
        names = [attribute.key for attribute in attributes]
        rows = [
            dict(zip(names, (id, *row), strict=True))
            for id in differing
            for row in sorted(wanted[id])
        ]
        insert_rows(session, model, rows)
    return differing


def in_values(session: Session, column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition `column IN values`, in the form that is fast on this database."""
    listed = list(values)
    if not _is_postgresql(session.connection()):
        return column.in_(listed)
    return column == any_(bindparam(None, listed, type_=ARRAY(column.type)))


def force_custom_plans(session: Session) -> None:
    """Make PostgreSQL plan each statement for its values until this transaction ends.

    A generic plan assumes ten values for `in_values` and compares thousands with every row of the
    table: 20,000 objects in batches of 500 take minutes instead of seconds.
    """
    connection = session.connection()
    if _is_postgresql(connection):
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")


def _attributes(model: type[Base]) -> list[Any]:
    return [getattr(model, column.name) for column in model.__table__.columns]


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
