"""The servers under load: ours on SQLite and on PostgreSQL, and a plain one.

Each is started as an operator would start it, in a process of its own. The readers are GATE-0,
GATE-1 and so on.
"""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import insert, update

from bench.hub import plain_hub
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Reader, Token

SECRET = "bench"
RULE = "7_480_1080_1111100_29900000_31000000"
_WAIT_S = 60
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A server under load, in a process of its own."""

    host = "127.0.0.1"
    port = 0
    _process: subprocess.Popen

    @property
    def cpu(self) -> float:
        """The server's processor time in seconds since its start."""
        fields = self._stat().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory(self) -> int:
        """The server's memory now, in bytes."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The server's peak memory since `reset_peak`, in bytes."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        """Reset `peak` to the memory now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        self._process.terminate()
        self._process.wait()

    def _stat(self) -> str:
        return Path(f"/proc/{self._process.pid}/stat").read_text()

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024


class HubServer(Server):
    """Our hub. where: its database, a path or a URL."""

    def __init__(self, where: str) -> None:
        command = [sys.executable, "-m", "kalitka_cli", "hub", "serve", "--db", where]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--log-level", "warning"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not (found := re.search(r"http://[\d.]+:(\d+)", line)):
            raise RuntimeError(f"the hub did not start: run `{' '.join(command)}` to see why")
        self.port = int(found[1])


class KalitkaServer(HubServer):
    """Our hub on a database that is filled with a site's tokens and readers."""

    def __init__(self, where: str, readers: int, codes: list[str]) -> None:
        self._database = open_database(where)
        with write_transaction(self._database) as session:
            set_secret(session, SECRET)
            set_tokens(session, (TokenSetting(code, (RULE,)) for code in codes))
            # The site is old: its tokens were not changed in this minute.
            session.execute(update(Token).values(changed=1))
            session.execute(
                insert(Reader),
                [{"code": f"GATE-{i}", "configured_minute": 0} for i in range(readers)],
            )
        super().__init__(where)

    def change(self, code: str) -> None:
        """Change a token in this minute."""
        with write_transaction(self._database) as session:
            minutes = int(time.time() // 60) % 1000
            set_tokens(session, [TokenSetting(code, (f"1_{29_900_000 + minutes}_31000000",))])

    def stop(self) -> None:
        super().stop()
        self._database.close()


class PlainServer(Server):
    """A plain server: a module that takes a SQLite file, the secret and a port."""

    def __init__(self, module: str, path: str) -> None:
        with socket.create_server((self.host, 0)) as free:
            self.port = free.getsockname()[1]
        words = [module, path, SECRET, str(self.port)]
        self._process = subprocess.Popen([sys.executable, "-m", *words])
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                socket.create_connection((self.host, self.port)).close()
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


class PlainHubServer(PlainServer):
    """The plain hub, on a SQLite file at `path` that is filled in the same way."""

    def __init__(self, path: str, readers: int, codes: list[str]) -> None:
        self._path = path
        plain_hub.fill(path, readers, codes, RULE)
        super().__init__("bench.hub.plain_hub", path)

    def change(self, code: str) -> None:
        """Change a token in this minute."""
        plain_hub.change(self._path, code)


WithTokens = KalitkaServer | PlainHubServer
