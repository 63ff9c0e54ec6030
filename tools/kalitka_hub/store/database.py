"""The database: a SQLite file in WAL mode, or a database on a PostgreSQL server.

There are two kinds of transactions: `snapshot` reads one state of the database from its first
statement on, however long it takes and whatever is written meanwhile; `write_session` holds the
write lock (SQLite) from its first statement. A commit survives a power cut: SQLite's
`synchronous` stays FULL, because a reader may already have been answered from it. Writes are rare.

No wait is endless: a lock, a statement or a connection that exceeds its limit in seconds raises
OperationalError, which the server answers with 503. An opened database has the schema of this hub;
see `migrations`.
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

LOCK_SECONDS = 30  # how long a transaction waits for a lock
STATEMENT_SECONDS = 120  # PostgreSQL cancels a statement after this
CONNECT_SECONDS = 10  # to reach PostgreSQL, and for a connection to become free
POOL_SIZE = 8  # connections kept open; an answer being streamed holds one
# Further connections to PostgreSQL while many readers are slow. With PostgreSQL's default limit
# of 100 connections this leaves room for three hub processes.
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
            # READ COMMITTED: after the wait for the site's lock a statement must see what the
            # lock's last holder committed (rule 2 of `changes`).
            self._writing = engine.execution_options(isolation_level="READ COMMITTED")

    @property
    def name(self) -> str:
        """The database's file or URL, without a password."""
        return _display_name(self._engine.url)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that reads one state of the database; it is rolled back at the end."""
        with _pool_timeout_as_operational(), Session(self._reading) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open a session that writes: commit at the end, roll back on any exception.

        Only for `changes`, which takes the site's lock in it, and for `access_log`, which changes
        no rules. All other code writes in `changes.write_transaction`.
        """
        with _pool_timeout_as_operational(), Session(self._writing) as session, session.begin():
            yield session

    def open_connections(self) -> int:
        """Return how many connections are in use, by transactions and answers being streamed."""
        return self._engine.pool.checkedout()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


def open_database(where: str | Path, clock: Clock = time.time) -> Database:
    """Open or create the database at a path or URL, and migrate it to this hub's schema.

    `clock` returns Unix seconds. Raises InvalidRequest if the database cannot be opened, or holds
    tables of another program or of a newer hub.
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
            f"cannot open a database at {_display_name(url)}: {reason}; check --db"
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
            "`kalitka hub reader add CODE`"
        )
    return open_database(where, clock)


def _migrate(url: URL) -> None:
    engine = _create_engine(url)
    if engine.dialect.name == "sqlite":
        # SQLite alters some tables by copying and dropping them, and the drop must not cascade to
        # rows that refer to the table. This pragma has no effect inside a transaction.
        event.listen(engine, "connect", _disable_foreign_keys)
        engine = engine.execution_options(kalitka_begin="BEGIN IMMEDIATE")
    try:
        migrations.migrate(engine, _display_name(url))
    finally:
        engine.dispose()


@contextmanager
def _pool_timeout_as_operational() -> Iterator[None]:
    # To the caller a busy pool is the same as a busy database: both are answered with 503.
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
            "the hub's database must be a file, which several processes share; check --db"
        )
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidRequest(
            f"the hub does not support the kind of database in {_display_name(url)}: name a file, "
            "or a PostgreSQL database as postgresql://USER:PASSWORD@HOST/NAME; check --db"
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
            # The text of an error must not carry the values being written: one may be a hash.
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    # Connections to a file are cheap, and answers being streamed to slow readers may hold many:
    # a request never waits for one.
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
    # Outside of a transaction: a rollback would undo the settings.
    connection.autocommit = True
    settings = {
        "lock_timeout": LOCK_SECONDS * 1000,
        "statement_timeout": STATEMENT_SECONDS * 1000,
        # Streamed answers are read to their end: plan for all rows, not for the first ones.
        "cursor_tuple_fraction": 1,
        # If this computer loses power, the server frees its locks within a minute instead of
        # two hours.
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
    # Not NORMAL: in WAL mode that may lose the last commits at a power cut, and a reader may
    # already have been answered from them.
    connection.execute("PRAGMA synchronous=FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _enter_wal(connection)


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Once in the life of a file. SQLite's own timeout does not apply here, so wait in a loop.
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
    # Also for text that is not a URL, and for a password among the options.
    return _PASSWORD.sub(r"\1\2***", text)
