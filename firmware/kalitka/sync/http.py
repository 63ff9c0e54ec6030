"""HTTP/1.1 for one request at a time, over asyncio streams.

Promises: memory does not grow with the body; every wait has a deadline, but for the look-up of a
host name, which blocks in MicroPython (an address needs none); a body is told to be
whole only if the length that was announced has come, or the last chunk has. Redirects are not
followed and nothing is decompressed. Errors are HttpError with the reason in words.
"""

import asyncio

from micropython import const

_BUFFER = const(512)  # bytes read at once: some twenty rule lines
_LINE_MAX = const(256)  # bytes kept of a header line; what is longer we need not understand
_HEAD_MAX = const(8192)  # bytes of all headers together

# What is left of the body is not known in bytes.
_UNTIL_CLOSED = const(-1)


class HttpError(OSError):
    """The exchange failed. The message says what went wrong, in words."""


async def connect(host: str, port: int, patience: float = 15) -> "Exchange":
    """Connect to a server and return an Exchange.

    patience: seconds that any single wait may take (connect, send, next piece).
    """
    where = "%s:%d" % (host, port)
    doing = "connecting to " + where
    reader, writer = await _wait(asyncio.open_connection(host, port), patience, doing)
    return Exchange(reader, writer, where, patience)


async def _wait(awaitable, patience, doing):
    try:
        return await asyncio.wait_for(awaitable, patience)
    except asyncio.TimeoutError:
        raise HttpError("no answer in %d s while %s" % (patience, doing))
    except OSError as e:
        raise HttpError("error %s while %s" % (e.errno, doing))


class Exchange:
    """One connection, one request, one answer; made by `connect`.

    status: the answer's status once `send` is through.
    """

    def __init__(self, reader, writer, where, patience):
        self._reader = reader
        self._writer = writer
        self._where = where
        self._patience = patience
        self._buffer = bytearray(_BUFFER)
        self._memory = memoryview(self._buffer)
        self._at = self._end = 0
        self._chunked = False
        self._left = 0  # bytes left of the body or of the chunk
        self._over = False
        self.status = 0

    async def send(self, method: str, path: str, headers, length: int = 0, pieces=()) -> int:
        """Send a request and read the answer up to its body. Returns the status.

        headers: ((name, value), ...) of str, without Host and Content-Length.
        pieces: the body, an iterable of bytes, `length` of them in all.
        """
        if "\r" in path or "\n" in path:
            raise HttpError("line end in the address")
        out = bytearray()
        out.extend(("%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, self._where)).encode())
        for name, value in headers:
            if "\r" in value or "\n" in value:
                raise HttpError("line end in the header %s" % name)
            out.extend(("%s: %s\r\n" % (name, value)).encode())
        out.extend(("Content-Length: %d\r\nConnection: close\r\n\r\n" % length).encode())
        sent = 0
        for piece in pieces:
            sent += len(piece)
            out.extend(piece)
            if len(out) >= _BUFFER:
                await self._write(out)
                out = bytearray()
        if sent != length:
            raise HttpError("the request's body changed while it was sent")
        await self._write(out)
        self.status = await self._head()
        # An interim answer; the real one follows.
        while 100 <= self.status < 200:
            self.status = await self._head()
        return self.status

    async def read(self, out: bytearray) -> int:
        """Read the next piece of the body into `out` (bytearray).

        Returns its length in bytes, 0 at the end that the server announced. Raises HttpError if
        the connection ends before that, or if no end was announced: such a body may be cut.
        """
        if self._over:
            return 0
        if self._left == 0 and self._chunked:
            await self._next_chunk()
        if self._left == 0:
            self._over = True
            return 0
        if self._at == self._end and not await self._fill():
            if self._left == _UNTIL_CLOSED:
                raise HttpError("the server announced no length: the body may be cut")
            raise HttpError("the connection ended in the middle of the body")
        n = min(self._end - self._at, len(out))
        if self._left != _UNTIL_CLOSED:
            n = min(n, self._left)
            self._left -= n
        out[:n] = self._memory[self._at : self._at + n]
        self._at += n
        if self._left == 0 and self._chunked and await self._line():
            raise HttpError("no line end behind a chunk")
        return n

    async def close(self) -> None:
        """Close the connection; never raises for what the other side did."""
        try:
            self._writer.close()
            await asyncio.wait_for(self._writer.wait_closed(), self._patience)
        except (OSError, asyncio.TimeoutError):
            pass

    async def _write(self, data):
        # A connection that was refused may show only here.
        await _wait(self._put(data), self._patience, "sending to " + self._where)

    async def _put(self, data):
        self._writer.write(data)
        await self._writer.drain()

    async def _fill(self):
        # Reads what has come into the buffer; returns 0 at the connection's end.
        n = None
        while n is None:  # a stream may wake up with nothing to read yet
            coming = self._reader.readinto(self._buffer)
            n = await _wait(coming, self._patience, "reading the answer")
        self._at = 0
        self._end = n
        return n

    async def _line(self):
        # The next line (bytes), without its end, cut at _LINE_MAX.
        line = b""
        seen = 0
        while True:
            if self._at == self._end and not await self._fill():
                if not self.status and not seen:
                    raise HttpError("the server closed the connection without an answer")
                raise HttpError("the connection ended in the middle of a line")
            end = self._buffer.find(b"\n", self._at, self._end)
            stop = self._end if end < 0 else end
            if len(line) < _LINE_MAX:
                line += bytes(self._memory[self._at : stop])[: _LINE_MAX - len(line)]
            seen += stop - self._at
            self._at = stop if end < 0 else end + 1
            if end >= 0:
                return line[:-1] if line.endswith(b"\r") else line
            if seen > _HEAD_MAX:
                raise HttpError("a line of more than %d bytes" % _HEAD_MAX)

    async def _head(self):
        line = await self._line()
        parts = line.split(b" ", 2)
        if len(parts) < 2 or not line.startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise HttpError("the server does not speak HTTP/1.1")
        self._chunked = self._over = False
        self._left = _UNTIL_CLOSED
        size = 0
        while True:
            line = await self._line()
            if not line:
                break
            size += len(line)
            if size > _HEAD_MAX:
                raise HttpError("headers of more than %d bytes" % _HEAD_MAX)
            self._header(line)
        if self._chunked:
            self._left = 0
        return int(parts[1])

    def _header(self, line):
        cut = line.find(b":")
        name = line[:cut].lower()
        value = line[cut + 1 :].strip()
        if name == b"content-length" and not self._chunked:
            if not value.isdigit() or len(value) > 9:
                raise HttpError("bad Content-Length")
            if self._left not in (_UNTIL_CLOSED, int(value)):
                raise HttpError("two different Content-Lengths")
            self._left = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise HttpError("unknown Transfer-Encoding")
            self._chunked = True
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise HttpError("the answer is compressed, which was not asked for")

    async def _next_chunk(self):
        line = (await self._line()).split(b";")[0].strip()
        try:
            if not 0 < len(line) <= 7:
                raise ValueError
            self._left = int(line, 16)
        except ValueError:
            raise HttpError("bad length of a chunk")
        if self._left < 0:
            raise HttpError("bad length of a chunk")
        if self._left == 0:
            self._over = True
            size = 0
            while size <= _HEAD_MAX:  # trailers
                line = await self._line()
                if not line:
                    return
                size += len(line)
            raise HttpError("trailers of more than %d bytes" % _HEAD_MAX)


def split_url(url: str) -> tuple[str, int, str]:
    """Split `http://host[:port][/path]` (str) into (host, port, path without a final slash).

    Raises ValueError with what is wrong.
    """
    if not url.startswith("http://"):
        raise ValueError("the server's address must begin with http://")
    rest = url[7:]
    slash = rest.find("/")
    host = rest if slash < 0 else rest[:slash]
    path = "" if slash < 0 else rest[slash:]
    while path.endswith("/"):
        path = path[:-1]
    port = "80"
    if ":" in host:
        host, port = host.split(":", 1)
    if not host or " " in url or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("the server's address is not http://HOST:PORT")
    return host, int(port), path
