"""The hub's HTTP server: one listening socket, and uvicorn until a signal.

The socket is opened before anything else, so that a port in use is reported in one clear sentence.
Connections are kept alive, and answers say for how long: a TLS handshake is expensive for a
reader's chip, and it polls once a minute. If systemd started the hub, it is notified when the
server is ready, and as long as the event loop runs.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from kalitka_hub import logs
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.server import service

SHUTDOWN_SECONDS = 5  # for answers under way when the server stops
LEAVE_SECONDS = 1  # for clients with an idle connection to close TLS in order
KEEP_ALIVE_SECONDS = 75  # for an idle connection: longer than a reader's poll interval
SILENT_SECONDS = 100  # without a request before a connection is closed; above KEEP_ALIVE_SECONDS
_BACKLOG = 128  # waiting connections: after a power cut all readers of a site connect at once

_LOG = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free port. Raises InvalidRequest."""
    try:
        # Only the first address of a name: with port 0 two addresses would get two ports.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError) as fault:
        raise InvalidRequest(
            f"cannot listen on {host} port {port}: invalid address: {fault}"
        ) from fault
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as fault:
        listener.close()
        raise InvalidRequest(
            f"cannot listen on {host} port {port}: {fault.strerror}; choose another --port (0 "
            "takes a free one) or stop the program that uses it"
        ) from fault
    return listener


def address_of(listener: socket.socket, secure: bool) -> str:
    """Return the URL of a listening socket. secure: over TLS."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def serve(
    app: FastAPI,
    listener: socket.socket,
    on_ready: Callable[[], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; call `on_ready` once requests are accepted.

    tls: the server's TLS context, None for plain HTTP. The caller sets up logging, see `logs`.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        headers=[("Keep-Alive", f"timeout={KEEP_ALIVE_SECONDS}")],
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    # uvicorn shuts down cleanly at Ctrl-C, and then raises KeyboardInterrupt again.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, on_ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()
        service.notify(service.READY)
        self._tasks = [
            asyncio.create_task(_send_watchdog()),
            asyncio.create_task(self._close_silent()),
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._tasks:
            task.cancel()
        service.notify(service.STOPPING)
        # A TLS close waits for the other side, and a reader looks at its connection only when it
        # polls.
        late = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._abort_idle)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
            # Logged here, because a SIGTERM ends the process before `run` returns.
            logs.event(_LOG, logging.INFO, "hub stopped")

    def _abort_idle(self) -> None:
        for connection in list(self.server_state.connections):
            if _is_idle(_last_request(connection)):
                connection.transport.abort()  # type: ignore[union-attr]

    async def _close_silent(self) -> None:
        # uvicorn waits for ever for a first request, and for the rest of a header: a reader that
        # loses power just then would leave a connection behind, and an attacker any number.
        before: dict[object, object] = {}
        while True:
            await asyncio.sleep(SILENT_SECONDS)
            now = {each: _last_request(each) for each in self.server_state.connections}
            for connection, request in now.items():
                if _is_idle(request) and before.get(connection, before) is request:
                    connection.transport.abort()  # type: ignore[union-attr]
            before = now


def _last_request(connection: object) -> Any:
    """Return the last request of a connection, uvicorn's `cycle`; None before the first."""
    return getattr(connection, "cycle", None)


def _is_idle(request: Any) -> bool:
    return request is None or request.response_complete


async def _send_watchdog() -> None:
    seconds = service.watchdog_interval()
    while seconds:
        service.notify(service.WATCHDOG)
        await asyncio.sleep(seconds)
