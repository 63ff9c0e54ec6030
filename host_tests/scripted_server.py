"""A server that does exactly what a test tells it to, over a real socket.

Each connection is given the next script: bytes that are sent as they are, and what happens then.
Requests are recorded. What runs out of scripts is answered by the last one again.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass


@dataclass
class Script:
    """What to send to one connection: `data`, then close, or `hang` without a word.

    piece: how many bytes are sent at once.
    """

    data: bytes
    hang: bool = False
    piece: int = 1 << 20


def reply(body: bytes, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    """Return an answer with its Content-Length."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int) -> bytes:
    """Return the same answer in chunks of `size` bytes."""
    out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        out += b"%x;name=value\r\n%s\r\n" % (len(piece), piece)
    return out + b"0\r\nTrailer: x\r\n\r\n"


class ScriptedServer:
    """Listens on loopback at `port`; `requests` holds (head, body) of what was asked."""

    def __init__(self, scripts: list[Script]):
        self.requests: list[tuple[str, bytes]] = []
        self._scripts = scripts
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "ScriptedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in self._held:
            one.close()

    @property
    def bodies(self) -> list[str]:
        """The bodies of the requests so far."""
        return [body.decode() for _, body in self.requests]

    def _serve(self) -> None:
        at = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(at, len(self._scripts) - 1)]
            at += 1
            with contextlib.suppress(OSError):
                self._answer(connection, script)
            if script.hang:
                self._held.append(connection)
            else:
                connection.close()

    def _answer(self, connection: socket.socket, script: Script) -> None:
        connection.settimeout(10)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(4096) or b"\r\n\r\n"
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode()
        length = next(
            (int(h.split(":")[1]) for h in text.split("\r\n") if h.startswith("Content-Length")), 0
        )
        while len(body) < length:
            body += connection.recv(4096)
        self.requests.append((text, body))
        for start in range(0, len(script.data), script.piece):
            connection.sendall(script.data[start : start + script.piece])
        if not script.hang:
            # Else unread bytes of the other side would turn the close into a reset.
            connection.shutdown(socket.SHUT_WR)
