"""The hub's server process: one listening socket, and uvicorn until a signal.

The socket is opened before anything else, so that a port that is taken is one clear sentence.
"""

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from .faults import Refused

SHUTDOWN_SECONDS = 5  # for answers under way when the server is told to stop
_BACKLOG = 128  # connections waiting; all readers of a site ask at once after a power cut


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises Refused."""
    try:
        # The first address of a name: a server on two of them would need two ports named.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError) as fault:
        raise Refused(f"{host} port {port} is no address of this computer: {fault}") from fault
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as fault:
        listener.close()
        raise Refused(
            f"cannot listen on {host} port {port}: {fault.strerror}; stop what uses it, or "
            "choose another --port (0 takes a free one)"
        ) from fault
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; call `on_ready` once requests are taken."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    # uvicorn stops in order at Ctrl-C, and then raises it once more.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, on_ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()
