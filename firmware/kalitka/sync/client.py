"""The server as seen from the reader: the token-reader API's calls.

Promises: an answer is streamed to its sink and never held; what the server says instead of an
answer ends up in the error's words; the site's secret is in no message.
"""

import asyncio

from kalitka.sync.answer import AnswerParser
from kalitka.sync.http import HttpError, connect, split_url
from kalitka.sync.request import length, pieces
from micropython import const

_SYNC = "/api/v1/token-reader/access-tokens/sync"
_TIME = "/api/v2/token-reader/time"
_PIECE = const(512)  # bytes parsed between two chances for others to run
_TIME_MAX = const(160)  # bytes of an answer of the time endpoint
_QUOTE_MAX = const(60)  # characters quoted of an answer that is none


class Refused(HttpError):
    """The server answered with another status than 200; `status` has it."""

    def __init__(self, status: int, words: str):
        super().__init__(words)
        self.status = status


class Client:
    """Talks to the server at `url` as the reader `reader` with the site's secret `token`.

    All three are str. Raises ValueError if the url is none.
    """

    def __init__(self, url: str, token: str, reader: str, patience: float = 15):
        self._host, self._port, self._base = split_url(url)
        self._headers = (
            ("X-AuthToken", token),
            ("X-AuthReader", reader),
            ("Content-Type", "text/plain"),
        )
        self._patience = patience

    async def sync(self, minute: int | None, sink, names=None) -> AnswerParser:
        """Ask for changes since `minute` (0: everything), of `names` only if given.

        sink: as `AnswerParser` takes it, and with `settle()`, a generator of the work that has to
        be done before the next piece. Returns the parser, whose counters tell what came,
        after the whole answer has come and was one. Raises HttpError, Refused, AnswerError: then
        what the sink was told is not to be believed.
        """
        exchange = await connect(self._host, self._port, self._patience)
        try:
            size = length(minute, names)
            body = pieces(minute, names)
            await exchange.send("POST", self._base + _SYNC, self._headers, size, body)
            await self._expect_ok(exchange)
            parser = AnswerParser(sink)
            piece = bytearray(_PIECE)
            while True:
                n = await exchange.read(piece)
                if not n:
                    break
                parser.feed(piece, n)
                await asyncio.sleep(0)
                for _ in sink.settle():
                    await asyncio.sleep(0)
            parser.finish(True)
            return parser
        finally:
            await exchange.close()

    async def time(self) -> tuple[int, str]:
        """Ask for the time. Returns (seconds since 1970 UTC, POSIX TZ as str).

        Raises HttpError, Refused.
        """
        exchange = await connect(self._host, self._port, self._patience)
        try:
            await exchange.send("GET", self._base + _TIME, self._headers)
            await self._expect_ok(exchange)
            text = await self._text(exchange, _TIME_MAX)
        finally:
            await exchange.close()
        # The zone has commas of its own: it stands between the first and the last one.
        first = text.find(",")
        last = text.rfind(",")
        seconds = text[last + 1 :].strip()
        if first < 0 or first == last or not seconds.isdigit() or len(seconds) > 10:
            raise HttpError("not an answer of the time endpoint: %s" % text[:_QUOTE_MAX])
        return int(seconds), text[first + 1 : last]

    async def _expect_ok(self, exchange):
        if exchange.status == 200:
            return
        said = await self._text(exchange, _QUOTE_MAX)
        words = "the server answered %d" % exchange.status
        if exchange.status in (401, 403):
            words = "%s: it does not accept this reader's code or token" % words
        raise Refused(exchange.status, "%s (%s)" % (words, said) if said else words)

    async def _text(self, exchange, limit):
        # The beginning of a short body as printable text, as far as it comes.
        piece = bytearray(limit)
        text = ""
        while len(text) < limit:
            try:
                n = await exchange.read(piece)
            except HttpError:
                break
            if not n:
                break
            text += "".join(chr(b) if 32 <= b < 127 else " " for b in piece[:n])
        return text[:limit].strip()
