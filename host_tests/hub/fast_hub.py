"""A real hub in a process of its own whose clock runs fast, stands apart, and is put back.

Nothing of it is in the product: a hub takes any clock. It serves as `kalitka hub serve` does, one
process of uvicorn on a socket, until it is killed.
"""

import logging
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from kalitka_hub import logs
from kalitka_hub.server import http_server
from kalitka_hub.server.app import create_app
from kalitka_hub.store.database import open_database

SPEED = 120  # two minutes a second: many boundaries of a minute, and little time between
_BACK_SECONDS = 200  # so much is a clock put back, for a second of every seventh


@dataclass(frozen=True)
class FastClock:
    """Unix seconds of one computer; those of several differ by their skews.

    start: what it shows at `began`, a time of this computer's monotonic clock.
    """

    began: float
    start: int
    skew: float = 0

    def __call__(self) -> float:
        passed = time.monotonic() - self.began
        back = _BACK_SECONDS if int(passed + self.skew) % 7 == 3 else 0
        return self.start + passed * SPEED + self.skew - back


def reserved_port() -> socket.socket:
    """Return a socket with a port that nobody else is given while it is open, but may listen at.

    Nobody is reached there as long as nobody does.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def serve(where: str, clock: FastClock, port: int, ready: Connection) -> None:
    """Serve the database at `where`; say so to `ready` when requests are taken."""
    # As a hub does it, but not each reader that was removed, each time that it asks.
    logs.configure("text", "warning")
    logging.getLogger("kalitka_hub").setLevel(logging.ERROR)
    database = open_database(where, clock)
    listener = http_server.listen("127.0.0.1", port)
    http_server.serve(create_app(database), listener, lambda: ready.send("ready"))
    database.close()
