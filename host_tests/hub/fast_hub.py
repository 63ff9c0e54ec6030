"""A real hub in its own process, whose clock runs fast, is skewed, and jumps backwards.

The product needs no change for it: a hub takes any clock. It serves as `kalitka hub serve` does,
one uvicorn process on a socket, until it is killed.
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

SPEED = 120  # two minutes a second: many minute boundaries, close together
_BACK_SECONDS = 200  # a clock is set back by this for one second in seven


@dataclass(frozen=True)
class FastClock:
    """The clock of one computer, in Unix seconds; the clocks of several differ by their skews.

    start: its value at `began`, a time of this computer's monotonic clock.
    """

    began: float
    start: int
    skew: float = 0

    def __call__(self) -> float:
        passed = time.monotonic() - self.began
        back = _BACK_SECONDS if int(passed + self.skew) % 7 == 3 else 0
        return self.start + passed * SPEED + self.skew - back


def reserved_port() -> socket.socket:
    """Return a socket that reserves a port while it is open: the system gives it to nobody else.

    A hub can listen on the port meanwhile; until it does, connections are refused.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def serve(where: str, clock: FastClock, port: int, ready: Connection) -> None:
    """Serve the database at `where`; send to `ready` once requests are accepted."""
    # Logs as a hub does, but no warning for every request of a removed reader.
    logs.configure("text", "warning")
    logging.getLogger("kalitka_hub").setLevel(logging.ERROR)
    database = open_database(where, clock)
    listener = http_server.listen("127.0.0.1", port)
    http_server.serve(create_app(database), listener, lambda: ready.send("ready"))
    database.close()
