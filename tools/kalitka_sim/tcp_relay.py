"""A TCP relay between a virtual reader and its server, which can be cut like a cable.

While cut it behaves as a dead network: connections stay open and no data gets through.
`restore` resets the old connections.
"""

import contextlib
import socket
import threading

from .timeouts import HANG_TIMEOUT_S


class TcpRelay:
    """A relay from `port` on loopback to `server`, (host, port), which may be changed.

    connections: the number relayed. requests: how often the client sent data at the beginning of
    a connection or after an answer (over TLS this counts handshakes, too). bytes_down: bytes that
    the server sent.
    """

    def __init__(self, server: tuple[str, int]):
        self.server = server
        self.connections = 0
        self.requests = 0
        self.bytes_down = 0
        self._client_turn = True
        self._open = threading.Event()
        self._open.set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def cut(self) -> None:
        """Stop passing data on, in both directions."""
        self._open.clear()

    def restore(self) -> None:
        """Reset the connections from before the cut, and pass data on again."""
        self._close_connections()
        self._open.set()

    def close(self) -> None:
        """Stop the relay."""
        self._open.set()
        # A thread in `accept` survives the close of its socket, and may then get the connections
        # of the next socket with the same number: so wake the thread up and wait for its end.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self._close_connections()

    def _close_connections(self) -> None:
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        with self._lock:
            self._sockets.add(near)
        self._open.wait()
        try:
            far = socket.create_connection(self.server, timeout=HANG_TIMEOUT_S)
        except OSError:
            # As a host without a listening server does.
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._sockets.add(far)
        self.connections += 1
        self._client_turn = True
        back = threading.Thread(target=self._pump, args=(far, near, True), daemon=True)
        back.start()
        self._pump(near, far, False)
        back.join()
        with self._lock:
            self._sockets -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                self._open.wait()
                if down:
                    self.bytes_down += len(data)
                elif self._client_turn:
                    self.requests += 1
                self._client_turn = down
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
