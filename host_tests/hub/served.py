"""Hubs on a real socket, in this process and in one of their own."""

import http.client
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.hub_site import SYNC, headers
from kalitka_hub.server import http_server
from kalitka_hub.server.app import create_app
from kalitka_hub.store.database import Database
from kalitka_sim.timeouts import HANG_TIMEOUT_S


class _UnderPath:
    # Passes what comes to `path` on without it, as a proxy in front of a hub does.

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not scope["path"].startswith(f"{self._path}/"):
                await PlainTextResponse("not the hub", 404)(scope, receive, send)
                return
            scope = scope | {"path": scope["path"].removeprefix(self._path)}
        await self._app(scope, receive, send)


@contextmanager
def served(database: Database, path: str = "") -> Iterator[str]:
    """Serve a database, under a path or at the root; yield the URL, `http://127.0.0.1:PORT`."""
    listener = http_server.listen("127.0.0.1", 0)
    app = _UnderPath(create_app(database), path)
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield http_server.address_of(listener, secure=False)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


class ServeCommand:
    """`kalitka hub serve` in its own process, on a free port. ca: the site's, for clients by TLS.

    line: the command's first line of output.
    """

    def __init__(self, *options, ca=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kalitka_cli", "hub", "serve", *options, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()
        self.port = int(re.search(r"https?://[0-9.]+:(\d+)", self.line)[1])
        self._tls = ssl.create_default_context(cafile=ca) if ca else None

    def connect(self):
        where = ("127.0.0.1", self.port)
        if self._tls:
            return http.client.HTTPSConnection(*where, timeout=HANG_TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(*where, timeout=HANG_TIMEOUT_S)

    def post(self, body, **more):
        connection = self.connect()
        connection.request("POST", SYNC, body=body, headers=headers() | more)
        return connection.getresponse()

    def stop(self, sign=signal.SIGINT):
        """Stop the server; return (exit status, the rest of stdout, stderr)."""
        self.process.send_signal(sign)
        out, err = self.process.communicate(timeout=HANG_TIMEOUT_S)
        return self.process.returncode, out, err
