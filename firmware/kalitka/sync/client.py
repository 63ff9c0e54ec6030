"""A client of the server's token-reader API.

Promises: an answer is streamed to its sink and never held in memory; the text of an error
response ends up in the exception's message; the reader's secret never does.
"""

import asyncio

from kalitka import within
from kalitka.sync.net import NetError
from kalitka.table import codes
from micropython import const

_API = const("/api/v%d/token-reader/%s")
_PATH = const("/api/v")  # how it begins
_PIECE = const(1024)  # bytes parsed between two chances for others to run
_FAIR = const(64)  # pieces of a request measured between two chances for others to run
_TIME_MAX = const(160)  # bytes of an answer of the time endpoint
_OK_MAX = const(80)  # bytes read of an answer of the access-logs endpoint
_QUOTE_MAX = const(60)  # characters quoted of an invalid answer
_SAID_MAX = const(240)  # of what comes with an error: whole sentences


class StatusError(NetError):
    """The server answered with a `status` other than 200.

    zone: the site's POSIX TZ string, if the hub sent it in the place of the time, else "".
    """

    def __init__(self, status: int, words: str, zone: str = ""):
        super().__init__(words)
        self.status = status
        self.zone = zone


class Client:
    """A client of the server behind `http`.

    token: the reader's secret. reader: this reader's code. Both are str.

    from_hub: whether the last answer came from our own hub, which extends the protocol; None
    before the first answer. Only answers to a sync or an upload set it to False. answered: set to
    True by a good answer to a sync; set it to False to wait for the next one. secure: whether the
    server has to show a certificate, which can be checked only with a clock that is set.
    """

    def __init__(self, http, token: str, reader: str):
        self._http = http
        self.from_hub = None
        self.answered = False
        self.secure = http.secure
        self._headers = (
            ("X-AuthToken", token),
            ("X-AuthReader", reader),
            ("Content-Type", "text/plain"),
        )

    async def sync(self, minute: int | None, sink, names=None, patience: int = 1):
        """Ask for changes since `minute` (0: everything; None: all rules of `names`).

        names: a list of codes (bytes) to limit the answer to, None for all. patience: how
        many times as long as usual the server may take to begin its answer.
        sink: as for `AnswerParser`, and with `drain()`, a generator of the work that has to be
        done before the next piece. Returns the AnswerParser with its counters once a complete,
        valid answer has come. Raises NetError, StatusError, AnswerError: whatever the sink got
        must then not be applied.
        """
        http = self._http
        try:
            await http.request(
                "POST",
                _API % (1, "access-tokens/sync"),
                self._headers,
                await body_length(minute, names),
                lambda: body_pieces(minute, names),
                patience,
            )
            await self._expect_ok()
            # Loaded once there is an answer; the caller unloads it.
            from kalitka.sync.answer import AnswerParser

            parser = AnswerParser(sink)
            piece = bytearray(_PIECE)
            while True:
                n = await http.read(piece)
                if not n:
                    break
                parser.feed(piece, n)
                if self.from_hub is None:
                    # Set early: the server is known even if there is no room for this answer.
                    self.from_hub = http.from_hub
                await asyncio.sleep(0)
                for _ in sink.drain():
                    await asyncio.sleep(0)
            # True: `read` returns 0 only at the end that the server announced, else it raises.
            parser.finish(True)
            self.from_hub = http.from_hub
            self.answered = True
            return parser
        finally:
            http.release()

    async def upload(self, size: int, pieces, more=(), patience: int = 1) -> None:
        """Send entries of the access log; return once the server has acknowledged them.

        pieces: a callable that returns the body, an iterable of bytes, `size` of them in all.
        more: extra headers, (name, value) of str, for our hub. patience: as for `sync`. Raises
        NetError, StatusError.
        """
        http = self._http
        headers = self._headers + more
        try:
            await http.request("POST", _API % (1, "access-logs"), headers, size, pieces, patience)
            await self._expect_ok()
            text = await self._text(_OK_MAX, True)
        finally:
            http.release()
        # The number in `ok,N` is not compared: a server may leave out unknown cards.
        if text != "ok" and not (text.startswith("ok,") and text[3:].isdigit()):
            raise NetError("not an answer of the access-logs endpoint: %s" % text[:_QUOTE_MAX])
        self.from_hub = http.from_hub

    async def time(self) -> tuple[int, str]:
        """Return the server's time as (seconds since 1970 UTC, POSIX TZ as str).

        An older server gives the zone in whole hours only. Raises NetError, StatusError, and
        asyncio.TimeoutError for an answer that trickles: each request has a deadline for all of
        it.
        """
        try:
            return await self._time(2)
        except StatusError as e:
            if e.status != 404:
                raise
        seconds, hours = await self._time(1)
        hours = int(hours)
        return seconds, "<%s%02d>%d" % ("-" if hours < 0 else "+", abs(hours), -hours)

    def expiring(self) -> bool:
        """Return whether the connection will expire unless `touch` keeps it."""
        return self._http.expiring()

    async def touch(self) -> None:
        """Keep the connection alive with a small request; a failure is ignored."""
        try:
            await self._time(2)
        except (MemoryError, OSError, ValueError, asyncio.TimeoutError):
            pass

    def _time(self, version):
        # For connection, handshake, request and answer together; each wait has its own.
        return within(self._ask_time(version), 4 * self._http.timeout)

    async def _ask_time(self, version):
        try:
            await self._http.request("GET", _API % (version, "time"), self._headers)
            await self._expect_ok()
            text = await self._text(_TIME_MAX)
        finally:
            self._http.release()
        # The zone may contain commas: it stands between the first and the last one.
        _, first, rest = text.partition(",")
        zone, last, seconds = rest.rpartition(",")
        whole = zone[1:] if zone.startswith("-") else zone
        if not (first and last and seconds.isdigit() and len(seconds) <= 10):
            raise NetError("not an answer of the time endpoint: %s" % text[:_QUOTE_MAX])
        if version == 1 and not (whole.isdigit() and int(whole) <= 24):
            raise NetError("not an answer of the time endpoint: %s" % text[:_QUOTE_MAX])
        return int(seconds), zone

    async def _expect_ok(self):
        http = self._http
        if http.from_hub:
            self.from_hub = True
        if http.status == 200:
            return
        words = "the server answered %d" % http.status
        if http.status in (401, 403):
            words += ": it does not accept this reader's code or token"
        # What stands before the request's path is the address to set.
        address, path, _ = http.redirect().partition(_PATH)
        if path:
            words += ": it has moved; set server_url to %s" % address
        elif address:
            words += ": it leads to %s, which is not this API" % address
        said = await self._text(_SAID_MAX)
        raise StatusError(http.status, "%s (%s)" % (words, said) if said else words, http.zone)

    async def _text(self, limit, whole=False):
        # Returns the first `limit` bytes of a short body as printable text. A body that is cut
        # raises NetError if `whole`, else the text so far is returned.
        piece = bytearray(limit)
        text = ""
        while len(text) < limit:
            try:
                n = await self._http.read(piece)
            except NetError:
                if whole:
                    raise
                break
            if not n:
                break
            text += "".join(chr(b) if 32 <= b < 127 else " " for b in piece[:n])
        return text[:limit].strip()


def body_pieces(minute: int | None, names=None):
    """Yield the body of a sync request in pieces (bytes), in one of the four forms of the seed.

        MINUTE    MINUTE%    %code,code    MINUTE%code,code

    One code is held at a time, so a list of any length goes straight from flash to the socket.

    minute: minutes since 1970 UTC as last received, or None for the form without a date.
    names: an iterable of codes (bytes), or None. An empty one gives `MINUTE%`, which the server
    reads as no limit at all, like `MINUTE`.

    Raises ValueError if there is neither a minute nor a list, and CodeError for a bad code.
    """
    if minute is None and names is None:
        raise ValueError("a sync request needs a minute or codes")
    if minute is not None:
        yield b"%d" % minute
    if names is None:
        return
    yield b"%"
    first = True
    for code in names:
        fault = codes.check(code)
        if fault:
            raise codes.CodeError(fault)
        if not first:
            yield b","
        first = False
        yield code
    if first and minute is None:
        raise ValueError("a sync request without a minute needs at least one code")


async def body_length(minute: int | None, names=None) -> int:
    """Return the length of that body in bytes. Iterates `names` once; it must be repeatable."""
    size = 0
    for i, piece in enumerate(body_pieces(minute, names)):
        size += len(piece)
        if i % _FAIR == _FAIR - 1:
            await asyncio.sleep(0)
    return size
