"""A hub on a real socket in this process, for clients with their own HTTP code."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from kalitka_hub.server import http_server
from kalitka_hub.server.app import create_app
from kalitka_hub.store.database import Database


@contextmanager
def served(database: Database, zone: str = "MSK-3") -> Iterator[str]:
    """Serve a database; yield the hub's URL, `http://127.0.0.1:PORT`."""
    listener = http_server.listen("127.0.0.1", 0)
    app = create_app(database, zone)
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield http_server.address_of(listener, secure=False)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()
