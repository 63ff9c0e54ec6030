"""An HTTP/1.1 client of one server over asyncio streams: plain, or TLS with the site's own CA.

Promises: memory does not grow with the body; every wait has a deadline; a body counts as
complete only if the announced length or the last chunk has come. Certificate and server name
are always checked. Redirects are not followed and nothing is decompressed. A connection is
reused for as long as the server said that it keeps it, else for a few seconds; a request is sent
again only if such a connection turns out to be closed, not if the server is slow. The scanner is
suspended for a TLS handshake, which it may put off, and resumed afterwards. Errors are NetError
with the reason in words; NoReply only if nothing at all came through.
"""

from kalitka import unload
from kalitka.sync.net import Closed, NetError, NoReply, connect, wait_for
from micropython import const

_BUFFER = const(512)  # bytes read at once: some twenty rule lines
_LINE_MAX = const(256)  # bytes kept of a header line; no header that we read is longer
_HEAD_MAX = const(8192)  # bytes of all headers together
_LENGTH_MAX = const(999999999)  # bytes of a body or a chunk
_HEX = const(b"0123456789abcdefABCDEF")
_ALERT = const(b"\x15\x03")  # the first bytes of TLS's word for "this is not TLS"
_INTERIM_MAX = const(8)  # answers 1xx before the final one
_IDLE_S = const(4)  # for how long a connection is kept if the server does not say
_WORTH_S = const(30)  # only a connection kept for at least so long is worth a keep-alive request
_FADING_S = const(10)  # the keep-alive request is sent so long before the connection expires

# In `_left`: the body has no announced length and ends with the connection.
_UNTIL_CLOSED = const(-1)


class Http:
    """A connection to the server at `url`, opened on demand; one request at a time.

    resolver: a Resolver. uptime: a callable that returns monotonic seconds.
    ca: the name of the file with the site's CA; for https:// only. timeout: seconds that any
    single wait may take (look-up, connect, handshake, send, next piece). scanner: has `suspend`
    and `resume`, see `hardware.wiegand`; None if there is none.

    status: of the last answer. from_hub: whether the last answer came from our own hub. zone: the
    POSIX TZ string that the hub sends with an error in the place of the time, else "". secure:
    whether `url` is https. Raises ValueError if `url` is not valid.
    """

    def __init__(
        self, url: str, resolver, uptime, ca: str = "", timeout: float = 15, scanner=None
    ):
        from kalitka.sync.address import split_url

        self.secure, self._host, self._port, self.base = split_url(url)
        self.resolver = resolver
        self._uptime = uptime
        self._ca = ca
        self.timeout = timeout
        self._scanner = scanner
        self._where = "%s:%d" % (self._host, self._port)
        self._tls = None
        self._met = False  # the server has answered over this connection, or there is no TLS
        self._fresh = False  # the connection was made for this request
        self._patience = 1
        self._stream = None
        self._buf = bytearray()  # while a request is under way
        self._at = self._end = 0
        self._chunked = False
        self._left = 0  # bytes left of the body or of the chunk
        self._over = True  # the body has been read to its announced end
        self._keep = False  # the connection may be reused
        self._idle_s = 0  # for how long it may stay idle until then
        self._idle_until = 0
        self._location = ""
        self.status = 0
        self.from_hub = False
        self.zone = ""

    async def request(
        self, method: str, path: str, headers, length: int = 0, pieces=None, patience: int = 1
    ) -> int:
        """Send a request and read the answer up to its body. Returns the status.

        headers: ((name, value), ...) of str, without Host and Content-Length.
        pieces: a callable that returns the body, an iterable of bytes, `length` of them in all.
        It is called again if a reused connection turns out to be closed. patience: how many
        times `timeout` the beginning of the answer may take. Raises NetError.
        """
        self._patience = patience
        self.zone = ""
        head = self._head_of(method, path, headers, length)
        if not self._buf:
            self._buf = bytearray(_BUFFER)
        if self._uptime() >= self._idle_until:
            self.close()
        self._fresh = False
        if self._stream:
            try:
                return await self._exchange(head, length, pieces)
            except Closed:
                if self.status:
                    raise
                # The server closed the idle connection, which is not a fault. It may get this
                # request twice, so requests have to be idempotent: a sync only reads, and an
                # upload repeats the same entries with the same times.
                self.close()
        self.status = 0
        try:
            await self._open()
            return await self._exchange(head, length, pieces)
        except NetError:
            if not self.status:
                # The server may have moved to another address.
                self.resolver.expire(self._host)
            raise

    async def read(self, out: bytearray) -> int:
        """Read the next piece of the body into `out` (bytearray).

        Returns its length in bytes, 0 at the end that the server announced. Raises NetError if
        the connection ends before that, or if no end was announced: such a body may be cut.
        """
        if self._over:
            return 0
        if self._left == 0 and self._chunked:
            await self._next_chunk()
        if self._left == 0:
            self._over = True
            self._idle_until = self._uptime() + self._idle_s
            return 0
        if self._at == self._end and not await self._fill():
            if self._left == _UNTIL_CLOSED:
                raise NetError("the server announced no length: the body may be cut")
            raise NetError("the connection ended in the middle of the body")
        n = min(self._end - self._at, len(out))
        if self._left != _UNTIL_CLOSED:
            n = min(n, self._left)
            self._left -= n
        out[:n] = memoryview(self._buf)[self._at : self._at + n]
        self._at += n
        if self._left == 0 and self._chunked and await self._line():
            raise NetError("no line end behind a chunk")
        return n

    def expiring(self) -> bool:
        """Return whether an idle TLS connection will expire within seconds unless it is used.

        A request now costs less than the handshake that the next request would need.
        """
        left = self._idle_until - self._uptime()
        kept = self.secure and self._stream and self._idle_s >= _WORTH_S
        return bool(kept and 0 < left <= _FADING_S)

    def redirect(self) -> str:
        """Return the whole address (str) that a redirect leads to, "" if this is none."""
        target = self._location if 300 <= self.status < 400 else ""
        if target.startswith("/"):
            target = "http%s://%s%s" % ("s" if self.secure else "", self._where, target)
        return target

    def release(self) -> None:
        """Release the connection: close it unless it can be used again."""
        # Bytes behind the body would be taken for the beginning of the next answer.
        if not (self._keep and self._over) or self._at < self._end:
            self.close()
        self._buf = bytearray()

    def close(self) -> None:
        """Close the connection, if there is one. Never raises, whatever the other side did."""
        if self._scanner:
            self._scanner.resume()
        stream = self._stream
        self._stream = None
        if stream:
            try:
                stream.close()
            except OSError:  # whatever state the connection was in
                pass

    async def _open(self):
        address = await self.resolver.find(self._host)
        if self.secure and not self._tls:
            # TLS takes memory only in readers that use it.
            from kalitka.sync import tls

            try:
                self._tls = tls.context(self._ca)
            finally:
                unload("sync.tls")
        doing = "connecting to " + self._where
        self._stream = await connect(
            address, self._port, self._tls, self._host, self.timeout, doing, self._scanner
        )
        self._met = not self.secure
        self._fresh = True

    async def _exchange(self, head, length, pieces):
        self.status = 0
        self._at = self._end = 0
        # Both are of the exchange before: a failure now must not leave a connection that seems
        # reusable.
        self._keep = self._over = False
        out = bytearray(head)
        sent = 0
        for piece in pieces() if pieces else ():
            sent += len(piece)
            out.extend(piece)
            if len(out) >= _BUFFER:
                await self._write(out)
                out = bytearray()
        # The log may have lost entries meanwhile. With fewer bytes than announced the server would
        # wait for the rest, and with more take them for the next request.
        if sent != length:
            raise NetError("the request's body changed while it was sent")
        await self._write(out)
        for _ in range(_INTERIM_MAX):
            status = await self._head()
            self._met = True
            if self._scanner:
                self._scanner.resume()
            if status >= 200:
                self.status = status
                return status
        raise NetError("the server answers 1xx again and again")

    def _head_of(self, method, path, headers, length):
        lines = ["%s %s HTTP/1.1" % (method, self.base + path), "Host: " + self._where]
        lines.extend("%s: %s" % header for header in headers)
        lines.append("Content-Length: %d\r\n\r\n" % length)
        for line in lines[:-1]:
            if "\r" in line or "\n" in line:
                # The message does not quote the line: it may be the secret.
                raise NetError("line end in the request's address or headers")
        return "\r\n".join(lines).encode()

    async def _write(self, data):
        # The first write does the TLS handshake.
        doing = "%s %s" % ("sending to" if self._met else "the handshake with", self._where)
        assert self._stream
        await self._wait(self._stream.send(data), self.timeout, doing)

    def _wait(self, awaitable, timeout, doing):
        # The network is not to blame for a server that took the connection or began to answer.
        heard = self._fresh or self._end
        return wait_for(awaitable, timeout, doing, NetError if heard else NoReply)

    async def _fill(self):
        # Reads the next bytes into the buffer; returns 0 at the end of the connection.
        assert self._stream
        n = None
        while n is None:  # a TLS stream may wake up with nothing to read yet
            coming = self._stream.readinto(self._buf)
            timeout = self.timeout * (1 if self.status else self._patience)
            n = await self._wait(coming, timeout, "reading the answer")
        if n > 1 and not (self.status or self.secure) and self._buf[:2] == _ALERT:
            raise NetError("this port speaks https, not http: set server_url")
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
                    # Many TLS servers close so when plain HTTP comes in.
                    raise Closed(
                        "the server closed the connection without an answer"
                        + ("" if self.secure else ": does this port speak https?")
                    )
                raise NetError("the connection ended in the middle of a line")
            end = self._buf.find(b"\n", self._at, self._end)
            stop = self._end if end < 0 else end
            if len(line) < _LINE_MAX:
                line += self._buf[self._at : stop][: _LINE_MAX - len(line)]
            seen += stop - self._at
            self._at = stop if end < 0 else end + 1
            if end >= 0:
                return line[:-1] if line.endswith(b"\r") else line
            if seen > _HEAD_MAX:
                raise NetError("a line of more than %d bytes" % _HEAD_MAX)

    async def _head(self):
        line = await self._line()
        parts = line.split(b" ", 2)
        if len(parts) < 2 or not line.startswith(b"HTTP/1.") or len(parts[1]) != 3:
            raise NetError("the server does not speak HTTP/1.1")
        if not parts[1].isdigit():
            raise NetError("the server does not speak HTTP/1.1")
        self._keep = line.startswith(b"HTTP/1.1")
        self._idle_s = _IDLE_S
        self._chunked = self._over = self.from_hub = False
        self._left = _UNTIL_CLOSED
        self._location = ""
        size = 0
        while True:
            line = await self._line()
            if not line:
                break
            size += len(line)
            if size > _HEAD_MAX:
                raise NetError("headers of more than %d bytes" % _HEAD_MAX)
            self._header(line)
        if self._chunked:
            self._left = 0
        status = int(parts[1])
        if status in (204, 304):
            self._left = 0
            self._chunked = False
        return status

    def _header(self, line):
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip()
        lower = value.lower()
        if name == b"content-length" and not self._chunked:
            # Of any number of digits: RFC 9112 allows zeros in front.
            length = int(value) if value.isdigit() and len(value) < _LINE_MAX // 2 else -1
            if not 0 <= length <= _LENGTH_MAX:
                raise NetError("bad Content-Length")
            if self._left not in (_UNTIL_CLOSED, length):
                raise NetError("two different Content-Lengths")
            self._left = length
        elif name == b"transfer-encoding" and lower != b"identity":  # as if it were not there
            if lower != b"chunked" or self._chunked:
                raise NetError("unknown Transfer-Encoding")
            self._chunked = True
        elif name == b"content-encoding" and lower != b"identity":
            raise NetError("the answer is compressed, which was not asked for")
        elif name == b"connection":
            self._keep = self._keep and b"close" not in lower
        elif name == b"keep-alive" and lower.startswith(b"timeout="):
            # We give the connection up a little before the server does.
            seconds = lower[8:].split(b",")[0]
            if seconds.isdigit() and len(seconds) < 6:
                self._idle_s = int(seconds) - 2
        elif name == b"x-kalitka":
            self.from_hub = True
        elif name == b"x-kalitka-zone":
            self.zone = _printable(value)
        elif name == b"location":
            self._location = _printable(value)

    async def _next_chunk(self):
        line = (await self._line()).split(b";")[0].strip()
        # `int` would take a sign, 0x and blanks. A line that was cut is longer than this.
        if not 0 < len(line) < _LINE_MAX // 2 or not all(c in _HEX for c in line):
            raise NetError("bad length of a chunk")
        self._left = int(line, 16)
        if self._left > _LENGTH_MAX:
            raise NetError("bad length of a chunk")
        if self._left == 0:
            self._chunked = False
            size = 0
            while size <= _HEAD_MAX:  # trailers
                line = await self._line()
                if not line:
                    return
                size += len(line)
            raise NetError("trailers of more than %d bytes" % _HEAD_MAX)


def _printable(value):
    return "".join(chr(b) for b in value if 32 <= b < 127)
