"""The database: a SQLite file in WAL mode, or one on a PostgreSQL server.

Two kinds of transactions and no others: `snapshot` reads one state of the database from its
first statement on, however long it takes and whoever writes meanwhile; `writing` has the
database's write lock (SQLite) from its first statement. What is committed survives a power cut:
SQLite's `synchronous` stays FULL, since a reader may have been told by then. Writes are rare.

No wait is for ever: a lock that is not given, a statement that does not end and a connection
that cannot be had within their seconds are an OperationalError, which the server answers with
503. An opened database has the schema of this hub; see `migrations`.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from kalitka_hub.clock import Clock
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store import migrations

LOCK_SECONDS = 30  # a transaction waits this long for another one's lock
STATEMENT_SECONDS = 120  # PostgreSQL gives a statement up after this
CONNECT_SECONDS = 10  # for PostgreSQL to be reached, and for a connection to become free
POOL_SIZE = 8  # connections kept open; an answer being streamed holds one
# More of them to PostgreSQL while many readers are slow. A server of its own takes 100 by
# default: three processes of the hub.
POOL_OVERFLOW = 24
_WAL_TRIES = 200

_PASSWORD = re.compile(r"(?<=://)([^:/@]*:).*(?=@)|(password=)[^&]*")


class Database:
    """An open database, and the clock that stamps its changes. Threads may share it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.clock = clock
        self._engine = engine
        if engine.dialect.name == "sqlite":
            self._reading = engine
            self._writing = engine.execution_options(kalitka_begin="BEGIN IMMEDIATE")
        else:
            self._reading = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            # After the wait for a lock a statement must see what its holder committed.
            self._writing = engine.execution_options(isolation_level="READ COMMITTED")

    @property
    def name(self) -> str:
        """The database's file or URL, without a password."""
        return _display_name(self._engine.url)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that reads one state of the database, and roll it back at the end."""
        with _pool_timeout_as_operational(), Session(self._reading) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open a session that writes; commit at the end, or roll back on any exception.

        For `changes`, which takes the site's lock in it (change data in `write_transaction`), and
        for `access_log`, which changes no rules.
        """
        with _pool_timeout_as_operational(), Session(self._writing) as session, session.begin():
            yield session

    def open_connections(self) -> int:
        """Return how many connections are in use: transactions, answers being streamed."""
        return self._engine.pool.checkedout()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


def open_database(where: str | Path, clock: Clock = time.time) -> Database:
    """Open the database at a path or a URL, and bring its schema to this hub's.

    `clock` returns Unix seconds. Raises InvalidRequest if there can be no database, and for one
    that is not this hub's.
    """
    url = _parse_url(where)
    try:
        engine = _create_engine(url)
        database = Database(engine, clock)
        if not migrations.is_current(engine):
            _migrate(url)
    except (DatabaseError, sqlite3.Error, ArgumentError, ImportError) as fault:
        reason = str(getattr(fault, "orig", None) or fault).strip().replace("\n", " ")
        raise InvalidRequest(
            f"no database can be opened at {_display_name(url)}: {reason}; check --db"
        ) from fault
    except migrations.SchemaMismatch as fault:
        raise InvalidRequest(f"the database {_display_name(url)} {fault}") from fault
    return database


def open_existing(where: str | Path, clock: Clock = time.time) -> Database:
    """Open a database as `open_database` does. Raises NotFound if its file does not exist."""
    url = _parse_url(where)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise NotFound(
            f"there is no database at {where}: name it with --db, or make one with "
            "`kalitka hub secret`"
        )
    return open_database(where, clock)


def _migrate(url: URL) -> None:
    engine = _create_engine(url)
    if engine.dialect.name == "sqlite":
        # Some tables can only be altered by making them anew, and dropping the old one must not
        # take along the rows that refer to it. Inside a transaction this cannot be set.
        event.listen(engine, "connect", _disable_foreign_keys)
        engine = engine.execution_options(kalitka_begin="BEGIN IMMEDIATE")
    try:
        migrations.migrate(engine, _display_name(url))
    finally:
        engine.dispose()


@contextmanager
def _pool_timeout_as_operational() -> Iterator[None]:
    # To those who ask it is the same whether the database or the pool is busy.
    try:
        yield
    except PoolTimeoutError as fault:
        raise OperationalError(None, None, fault) from fault


def _parse_url(where: str | Path) -> URL:
    try:
        text = str(where)
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as fault:
        raise InvalidRequest(
            f"{_redacted(str(where))} is neither a path nor a database URL; check --db"
        ) from fault
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise InvalidRequest(
            "the hub's database is a file that several processes share; check --db"
        )
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidRequest(
            f"{_display_name(url)} is of a kind that the hub cannot use: name a file, or a "
            "PostgreSQL database as postgresql://USER:PASSWORD@HOST/NAME; check --db"
        )
    return url


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=CONNECT_SECONDS,
            connect_args={"connect_timeout": CONNECT_SECONDS},
            # A fault's text must not carry what was being written: it may be a hash.
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    # Connections to a file are cheap: never let a request wait for one, since the answers
    # being streamed to slow readers may hold many.
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=-1,
        connect_args={"timeout": LOCK_SECONDS},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # Outside of a transaction, or its end would undo them.
    connection.autocommit = True
    settings = {
        "lock_timeout": LOCK_SECONDS * 1000,
        "statement_timeout": STATEMENT_SECONDS * 1000,
        # What is streamed is read to its end: the first row need not come soonest.
        "cursor_tuple_fraction": 1,
        # Should this computer lose its power, what it holds locked is free in a minute, not
        # after two hours.
        "tcp_keepalives_idle": 30,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
    }
    connection.execute("; ".join(f"SET {name} = {value:g}" for name, value in settings.items()))
    connection.autocommit = False


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
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


def _disable_foreign_keys(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys=OFF")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("kalitka_begin", "BEGIN"))


def _display_name(url: URL) -> str:
    if url.get_backend_name() == "sqlite" and url.database:
        return str(url.database)
    return _redacted(url.render_as_string(hide_password=True))


def _redacted(text: str) -> str:
    # Also of what is no URL, and of a password among the options.
    return _PASSWORD.sub(r"\1\2***", text)
