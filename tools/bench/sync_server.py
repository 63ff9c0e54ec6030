"""A server for one virtual reader, which sends prepared sync answers whole and at once.

Unlike the hub, which answers in code order, it leaves the order of the lines to the benchmark.
"""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ZONE = "MSK-3"
_ANOTHER_FULL = b"0%%\n"  # an answer that makes the reader do a full sync


class SyncServer(ThreadingHTTPServer):
    """A server that answers minute 0 with `full`, and other polls with `pending` once, if any.

    nothing: the answer to all further polls. polls: the number of those.
    """

    daemon_threads = True

    def __init__(self, full: bytes, nothing: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.full = full
        self.pending = b""
        self.nothing = nothing
        self.polls = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the server."""
        return "127.0.0.1", self.server_address[1]

    def replace_everything(self, full: bytes) -> None:
        """Make the reader do a full sync of `full` after its next poll."""
        self.full = full
        self.pending = _ANOTHER_FULL

    def answer(self, minute: int) -> bytes:
        """Return the answer to a request for the changes since `minute`."""
        if minute == 0:
            return self.full
        if self.pending:
            body, self.pending = self.pending, b""
            return body
        self.polls += 1
        return self.nothing

    def __enter__(self) -> "SyncServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SyncServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        now = int(time.time())
        self._send(f"{now // 60},{_ZONE},{now}".encode())

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("access-logs"):
            self._send(b"ok,0")
            return
        self._send(self.server.answer(int(asked.split(b"%")[0] or 0)))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
