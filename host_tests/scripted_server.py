"""A server that follows a test's scripts exactly, over a real socket, with TLS or without.

Each connection gets the next script: bytes that are sent as they are, and the way the connection
ends. Further connections get the last script again. Every connection has a thread of its own, so
that a hanging one does not block the others; all of them end with the server.
"""

import contextlib
import fcntl
import math
import select
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_LINGER = 0.05  # seconds without a byte after which the peer is done sending
_STEP = 0.25  # seconds of silence that pass in one step
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


@dataclass
class Script:
    """The script of one connection: the bytes to send, and its end, a close by default.

    Seconds are those of the client's clock, if the server can advance it (`pass_time`).

    data: the answer, or several: each is sent after another request has been read.

    How the answers are sent:
    repeat: all further requests get the last answer again.
    greet: the first answer is sent at once, before the first request is read.
    delay: seconds before each answer.
    piece: bytes sent at once; in TLS each piece is a record.
    pause: seconds between two pieces.
    after: the connection ends after so many bytes of all answers together.

    After the answers (or after `after` bytes):
    hang: the connection stays open and silent; requests are still read and recorded.
    idle: the connection stays open and silent for so many seconds, and then ends.
    reset: the connection ends by RST, not by FIN.
    close_notify: in TLS, a close_notify precedes the close; not with `reset`.

    Failures before the answers:
    accept_only: nothing is read or sent, not even a handshake; the connection stays open.
    never_read: a TLS handshake is done, but no request is read; the connection stays open. See
    `greet` for answers. (Both end at once with `reset`, and after `idle` seconds with `idle`.)
    handshake: "half": only half of the server's first TLS flight is sent, then as above;
    "plain": the answers come without TLS, in place of a handshake; "whole": a normal handshake.
    """

    data: bytes | list[bytes] = b""
    hang: bool = False
    piece: int = 1 << 20
    pause: float = 0
    delay: float = 0
    after: int | None = None
    repeat: bool = False
    idle: float | None = None
    reset: bool = False
    accept_only: bool = False
    never_read: bool = False
    greet: bool = False
    handshake: str = "whole"
    close_notify: bool = True

    def __post_init__(self):
        if self.handshake not in ("whole", "half", "plain"):
            raise ValueError(f"no such handshake: {self.handshake}")
        if self.piece < 1:
            raise ValueError("a piece has at least one byte")

    @property
    def answers(self) -> list[bytes]:
        """The answers as a list, even if there is only one."""
        return [self.data] if isinstance(self.data, bytes) else self.data

    @property
    def held(self) -> float:
        """Seconds for which the connection is held open after the answers."""
        if self.idle is not None:
            return self.idle
        unread = (self.accept_only or self.never_read) and not self.reset
        return math.inf if self.hang or unread else 0


def reply(body: bytes, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    """Return an answer with its Content-Length. headers: such as "Connection: close"."""
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
    """A server on loopback at `port`. requests: (head, body) of each request so far.

    tls: the context of a TLS server, such as `certificates.server_context` returns.
    pass_time: called with seconds to advance a client's own clock by (see reader_clock.py);
    returns when they have passed there.
    """

    def __init__(
        self,
        scripts: list[Script],
        tls: ssl.SSLContext | None = None,
        pass_time: Callable[[float], None] | None = None,
    ):
        self.requests: list[tuple[str, bytes]] = []
        self._scripts = scripts
        self._tls = tls
        self._pass_time = pass_time
        self._connections: list[_Connection] = []
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "ScriptedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        # After the thread's end no further connection is added.
        self._thread.join()
        self._listener.close()
        for one in self._connections:
            one.stop()

    @property
    def bodies(self) -> list[str]:
        """The bodies of the requests so far."""
        return [body.decode() for _, body in self.requests]

    @property
    def connections(self) -> int:
        """The number of connections accepted so far."""
        return len(self._connections)

    @property
    def carried(self) -> list[int]:
        """The number of requests over each connection, in the order of the connections."""
        return [one.carried for one in self._connections]

    @property
    def faults(self) -> list[str]:
        """The failure that ended each connection before its script did, "" if none.

        A TLS alert of the client counts as a failure.
        """
        return [one.fault for one in self._connections]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(len(self._connections), len(self._scripts) - 1)]
            tls = None if script.handshake == "plain" else self._tls
            one = _Connection(connection, script, tls, self.requests, self._stop, self._pass_time)
            self._connections.append(one)
            one.start()


class _Connection:
    # One connection with its thread, which alone reads, writes and closes the socket.

    def __init__(self, connection, script, tls, requests, stop, pass_time):
        self.carried = 0
        self.fault = ""
        self._socket = connection
        self._script = script
        self._requests = requests
        self._stop = stop
        self._pass_time = pass_time
        self._left = math.inf if script.after is None else script.after
        self._unread = b""
        self._plain_words = script.handshake == "plain"
        self._tls = _Tls(connection, tls) if tls else None
        self._thread = threading.Thread(target=self._run, daemon=True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if script.accept_only or script.never_read:
            # The kernel should not buffer bytes that the server does not read.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def start(self):
        self._thread.start()

    def stop(self):
        # Wakes the thread from any read or write.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self):
        try:
            self._play()
        except OSError as e:
            # The client went away or refused the handshake, or the server is being stopped.
            self.fault = "" if self._stop.is_set() else str(e)
        finally:
            with contextlib.suppress(OSError):
                self._end()
            self._socket.close()

    def _play(self):
        script = self._script
        if script.accept_only:
            self._hold()
            return
        if self._tls and script.handshake == "half":
            self._tls.half_handshake()
        else:
            if self._tls:
                self._tls.handshake()
            self._answer()
        self._hold()

    def _answer(self):
        script = self._script
        answers = iter(script.answers)
        data = b""
        if script.greet:
            data = next(answers, b"")
            self._send(data)
        while not script.never_read and self._left > 0:
            following = next(answers, data if script.repeat else None)
            if following is None or not self._request():
                return
            data = following
            self._send(data)

    def _send(self, data):
        self._wait(self._script.delay)
        data = data[: min(self._left, len(data))]
        self._left -= len(data)
        for start in range(0, len(data), self._script.piece):
            if start and self._wait(self._script.pause):
                return
            piece = data[start : start + self._script.piece]
            (self._tls or self._socket).sendall(piece)

    def _wait(self, seconds):
        # Let the seconds pass; return whether the server has been stopped.
        if self._pass_time and seconds:
            self._pass_time(seconds)
            seconds = 0
        return self._stop.wait(seconds)

    def _hold(self):
        # Keep the connection open and silent, until its time is over or the client is gone.
        script = self._script
        left = script.held
        reads = not (script.accept_only or script.never_read)
        while left > 0 and not self._stop.is_set():
            events = self._events(select.POLLIN if reads else 0)
            if events & select.POLLIN or (reads and self._has_more()):
                if not self._request():
                    return
            elif events & _GONE:
                return
            elif self._pass_time:
                self._pass_time(min(left, _STEP))
                left -= _STEP
            else:
                left -= self._poll(min(left, _STEP), select.POLLIN if reads else 0)

    def _has_more(self):
        # Whether there are received bytes that are not part of a recorded request yet.
        return bool(self._unread) or bool(self._tls and self._tls.pending)

    def _events(self, wanted, seconds=0.0):
        # Return the events of the socket within so many seconds: POLLIN, _GONE.
        looking = select.poll()
        looking.register(self._socket, wanted | select.POLLRDHUP)
        return next((events for _, events in looking.poll(seconds * 1000)), 0)

    def _poll(self, seconds, wanted):
        # Wait for an event for at most so many seconds; return the seconds waited.
        began = time.monotonic()
        self._events(wanted, seconds)
        return time.monotonic() - began

    def _request(self):
        # Read and record a request; return whether there was a whole one.
        if self._plain_words:
            # The client speaks TLS: its first bytes are taken for the request.
            self._plain_words = False
            return bool(self._socket.recv(4096))
        while b"\r\n\r\n" not in self._unread:
            if not self._fill():
                return False
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        text = head.decode()
        fields = [line.partition(":") for line in text.lower().split("\r\n")]
        size = next((int(value) for name, _, value in fields if name == "content-length"), 0)
        while len(self._unread) < size:
            if not self._fill():
                return False
        body, self._unread = self._unread[:size], self._unread[size:]
        self.carried += 1
        self._requests.append((text, body))
        return True

    def _fill(self):
        # Receive the next bytes; return whether there were any.
        data = (self._tls or self._socket).recv(4096)
        self._unread += data
        return bool(data)

    def _end(self):
        if self._stop.is_set():
            return
        if self._script.reset:
            self._wait_until_sent()
            now = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            return
        if self._tls and self._script.close_notify:
            self._tls.close_notify()
        self._socket.shutdown(socket.SHUT_WR)
        # Unread bytes of the client would turn the close into a reset.
        self._socket.settimeout(_LINGER)
        while self._socket.recv(4096):
            pass

    def _wait_until_sent(self):
        # A reset discards bytes that have not reached the client yet.
        while not self._stop.wait(0.002):
            left = fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0\0\0\0")
            if left == b"\0\0\0\0":
                return


class _Tls:
    # The server's end of TLS, over a socket of our own that can be cut at any byte.

    def __init__(self, connection, context):
        self._socket = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self):
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
                continue
            finally:
                # An alert as well.
                self._flush()
            return

    def half_handshake(self):
        # Up to the server's first flight, the longest one: it has the certificate.
        while not self._outgoing.pending:
            self._receive()
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
        words = self._outgoing.read()
        self._socket.sendall(words[: len(words) // 2])

    def recv(self, size):
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    @property
    def pending(self):
        return self._tls.pending() + self._incoming.pending

    def sendall(self, data):
        self._tls.write(data)
        self._flush()

    def close_notify(self):
        # Without waiting for the client's close_notify.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def _receive(self):
        data = self._socket.recv(16384)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self):
        self._socket.sendall(self._outgoing.read())
