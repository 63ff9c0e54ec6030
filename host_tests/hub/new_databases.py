"""New, empty databases for long tests: of both kinds, as durable as a site's own."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from kalitka_sim.postgresql_server import PostgresqlServer
from kalitka_sim.timeouts import HANG_TIMEOUT_S


class MortalPostgresql(PostgresqlServer):
    """A PostgreSQL server with durable settings, which survives being killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")

    def kill(self) -> None:
        """Kill the server and start it again: it recovers from its write-ahead log."""
        process = self._server.get_postmaster_info().process
        os.kill(process.pid, signal.SIGQUIT)
        process.wait(HANG_TIMEOUT_S)
        until = time.monotonic() + HANG_TIMEOUT_S
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except Exception:
                # Its last child processes may still be exiting.
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)


@contextmanager
def new_database(dialect: str) -> Iterator[tuple[str, MortalPostgresql | None]]:
    """Create a database for the block; yield its path or URL, and its server if any."""
    # Not in pytest's folder; see `conftest.postgresql`.
    with TemporaryDirectory(prefix="kalitka-load-") as folder:
        if dialect == "sqlite":
            yield str(Path(folder) / "hub.sqlite"), None
            return
        server = MortalPostgresql(Path(folder) / "data")
        try:
            with server.database() as url:
                yield url, server
        finally:
            server.stop()
