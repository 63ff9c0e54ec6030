"""A real hub for virtual readers: `kalitka hub serve` in a process of its own.

It is controlled from outside, by the commands that an operator types.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from kalitka_hub.site.site_secret import new_secret, set_secret
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database

from .timeouts import HANG_TIMEOUT_S

_ADDRESS = re.compile(r"https?://([0-9.]+):([0-9]+)")


class HubError(Exception):
    """The hub did not start or a command failed; the message has its output."""


class HubProcess:
    """The hub of a site whose database lies in `folder`.

    zone: the site's, a name or a POSIX string. tls: the files of (certificate, key), for https://;
    they have to exist only when it starts. secret: the site's secret, a new one, for readers
    without their own. secrets: those of the readers that `add_reader` added, by code. address:
    (host, port), the same over restarts.
    """

    def __init__(self, folder: Path, zone: str = "MSK-3", tls: tuple[Path, Path] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.database = folder / "hub.sqlite"
        self.secret = new_secret()
        self.secrets: dict[str, str] = {}
        self.address = ("127.0.0.1", 0)
        self._tls = tls
        self._log = folder / "hub.log"
        self._process: subprocess.Popen | None = None
        with self._changing() as session:
            set_secret(session, self.secret)
            set_zone(session, zone)

    def command(self, *words: str, **environment: str) -> str:
        """Run `kalitka hub ...` on this database and return its output. Raises HubError."""
        done = subprocess.run(
            [*self._kalitka(), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KALITKA_DATABASE_URL": str(self.database), **environment},
        )
        if done.returncode:
            raise HubError(f"kalitka hub {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def add_reader(self, code: str) -> None:
        """Add a reader with a secret of its own. Raises HubError."""
        self.secrets[code] = self.command("reader", "add", code).strip()

    def set_tokens(self, settings: Iterable[TokenSetting]) -> None:
        """Set many tokens in one transaction, beside the running hub."""
        with self._changing() as session:
            set_tokens(session, settings)

    def start(self) -> None:
        """Start the hub; return when it listens. Raises HubError."""
        port = str(self.address[1])
        options = ["--port", port, "--db", str(self.database)]
        if self._tls:
            certificate, key = self._tls
            options += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        with self._log.open("a") as log:
            self._process = self._launch(["serve", *options], log)
        assert self._process.stdout
        line = self._process.stdout.readline()
        match = _ADDRESS.search(line)
        if not match:
            raise HubError(f"the hub did not start: {line}{self._log.read_text()[-500:]}")
        self.address = (match[1], int(match[2]))

    def stop(self) -> None:
        """Stop the hub; kill it if it hangs."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(HANG_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> "HubProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        # A transaction in this process, beside those of the hub's process.
        database = open_database(self.database)
        try:
            with write_transaction(database) as session:
                yield session
        finally:
            database.close()

    def _launch(self, words: list[str], log: IO[str]) -> subprocess.Popen:
        # Start `kalitka hub ...` with its errors in `log`.
        command = [*self._kalitka(), *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    @staticmethod
    def _kalitka() -> list[str]:
        return [sys.executable, "-m", "kalitka_cli", "hub"]
