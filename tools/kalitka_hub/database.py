"""The database: a SQLite file in WAL mode, or whatever a SQLAlchemy URL names.

Two kinds of transactions and no others: `snapshot` reads one state of the database from its
first statement on, however long it takes and whoever writes meanwhile; `writing` has the
database's write lock (SQLite) from its first statement. What is committed survives a power cut:
`synchronous` stays FULL, since a reader may have been told by then. Writes are rare.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import Session

from .clock import Clock
from .faults import NotFound, Refused
from .models import Base, Site

LOCK_SECONDS = 30  # a transaction waits this long for another one's lock
POOL_SIZE = 8  # connections kept open; an answer being streamed holds one
_WAL_TRIES = 200


class Database:
    """An open database, and the clock that stamps its changes. Threads may share it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.clock = clock
        self._engine = engine
        if engine.dialect.name == "sqlite":
            self._reading = engine
            self._writing = engine.execution_options(kalitka_begin="BEGIN IMMEDIATE")
        else:
            self._reading = engine.execution_options(isolation_level="REPEATABLE READ")
            self._writing = engine

    @property
    def name(self) -> str:
        """The database's file or URL, without a password."""
        url = self._engine.url
        is_file = url.get_backend_name() == "sqlite" and url.database
        return str(url.database) if is_file else url.render_as_string(hide_password=True)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that reads one state of the database, and roll it back at the end."""
        with Session(self._reading) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that writes; commit at the end, or roll back on any exception.

        For `changes`, which takes the site's lock in it (change data in `changing`), and for
        `access_log`, which changes no rules.
        """
        with Session(self._writing) as session, session.begin():
            yield session

    def create_schema(self) -> None:
        """Create what is missing of the tables, and the site's row with them."""
        with self._reading.connect() as connection:
            if set(Base.metadata.tables) <= set(inspect(connection).get_table_names()):
                return
        # Under the write lock: two processes may open a new file at the same time.
        with self._writing.begin() as connection:
            Base.metadata.create_all(connection)
            if connection.execute(select(Site.id)).first() is None:
                connection.execute(insert(Site).values(id=1, acknowledged=0))

    def open_connections(self) -> int:
        """Return how many connections are in use: transactions, answers being streamed."""
        return self._engine.pool.checkedout()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


def open_database(where: str | Path, clock: Clock = time.time) -> Database:
    """Open the database at a path or a SQLAlchemy URL, and create what is missing of it.

    `clock` returns Unix seconds. Raises Refused if there can be no database.
    """
    url = _url_of(where)
    try:
        engine = _engine_of(url)
        database = Database(engine, clock)
        database.create_schema()
    except (DatabaseError, sqlite3.Error, ModuleNotFoundError, ArgumentError) as fault:
        reason = str(getattr(fault, "orig", None) or fault)
        shown = url.render_as_string(hide_password=True)
        raise Refused(f"no database can be opened at {shown}: {reason}; check --db") from fault
    return database


def open_existing(where: str | Path, clock: Clock = time.time) -> Database:
    """Open a database as `open_database` does. Raises NotFound if its file does not exist."""
    url = _url_of(where)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise NotFound(
            f"there is no database at {where}: name it with --db, or make one with "
            "`kalitka hub secret`"
        )
    return open_database(where, clock)


def _url_of(where: str | Path) -> URL:
    try:
        text = str(where)
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except (ArgumentError, ValueError) as fault:
        raise Refused(f"{where} is neither a path nor a database URL; check --db") from fault
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise Refused("the hub's database is a file that several processes share; check --db")
    return url


def _engine_of(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=POOL_SIZE)
    # Connections to a file are cheap: never let a request wait for one, since the answers
    # being streamed to slow readers may hold many.
    engine = create_engine(
        url, pool_size=POOL_SIZE, max_overflow=-1, connect_args={"timeout": LOCK_SECONDS}
    )
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_connection(connection: sqlite3.Connection, _record: Any) -> None:
    # Python's sqlite3 must not open transactions of its own: `_begin` says which kind.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _enter_wal(connection)


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Done once in the life of a file. SQLite does not wait for other processes here.
    for _ in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as fault:
            if "locked" not in str(fault):
                raise
            time.sleep(0.02)
    raise sqlite3.OperationalError("another process keeps the new database locked")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("kalitka_begin", "BEGIN"))
