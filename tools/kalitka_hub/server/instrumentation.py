"""ASGI middleware that records metrics and logs of the hub's HTTP requests.

It passes everything through unchanged, and looks only at the first bytes of each request and
answer, so no handler has to report what it did. A reader's refused request is logged once a minute
for each reader and status, an answered one at level debug only. Of the request, a line contains
only the reader's code. If the site has no such reader, the header may hold anything, such as a
secret in the wrong place: then the line has at most eight characters of what has the form of a
code and is not a secret of this site, and says how to add a reader. Such readers are also counted
for the list of `site.unknown_readers`.
"""

import logging
import re
import time
from collections.abc import Callable

from fastapi.concurrency import run_in_threadpool
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalitka_hub import logs
from kalitka_hub.clock import Clock, current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel import http_api as kormitel_http
from kalitka_hub.reader_api import token_reader_api
from kalitka_hub.rest import api
from kalitka_hub.server.metrics import Metrics
from kalitka_hub.site.reader_secrets import is_secret
from kalitka_hub.site.readers import check_reader_code, find_reader
from kalitka_hub.site.unknown_readers import UnknownReaderRecorder
from kalitka_hub.store.database import Database

_SYNC = "sync"
_LOGS = "access_logs"
_LOGIN = "login"
_READER_PATHS = {
    token_reader_api.SYNC: _SYNC,
    token_reader_api.ACCESS_LOGS: _LOGS,
    token_reader_api.TIME_WITH_ZONE: "time_with_zone",
    token_reader_api.TIME_WITH_HOURS: "time_with_hours",
}
_KORMITEL = "kormitel"
_OTHER_PATHS = {"/healthz": "healthz", "/metrics": "metrics", f"{api.PREFIX}/login": _LOGIN}
_LOGIN_REFUSED = (401, 429)
_LOGGED_MAX = 200  # refusals logged a minute; further ones are only counted
_HEAD = 64  # bytes of a body that are looked at: a memory bound
_SHOWN = 8  # characters of the code of an unknown reader that are logged
_UNKNOWN = "unknown"
_FORBIDDEN = 403
_STORED = re.compile(rb"ok,([0-9]+)")
_UNCHANGED = re.compile(rb"[0-9]+%%\n?")
_LOG = logging.getLogger(__name__)


class Instrumentation:
    """The middleware for metrics and request logs. timer: returns monotonic seconds."""

    def __init__(
        self,
        app: ASGIApp,
        database: Database,
        metrics: Metrics,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._database = database
        self._metrics = metrics
        self._timer = timer
        self._refusals = _RefusalLimiter(database.clock)
        self._unknown_readers = UnknownReaderRecorder(database)
        self._collectors_by_label: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _ObservedRequest(receive, send, self._metrics)
        path = _path_label(scope["path"])
        begun = self._timer()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.end()
            seconds = self._timer() - begun
            self._count(path, exchange, seconds)
            if scope["path"] in _READER_PATHS:
                await self._log(scope, path, exchange.status, seconds)

    def _count(self, path: str, exchange: "_ObservedRequest", seconds: float) -> None:
        metrics = self._metrics
        requests, durations = self._collectors(path, exchange.status)
        requests.inc()
        durations.observe(seconds)
        if path in (_LOGIN, _KORMITEL) and exchange.status in _LOGIN_REFUSED:
            metrics.login_failures.inc()
        if path == _SYNC and exchange.status == 200:
            metrics.polls.labels(exchange.sync_kind()).inc()
        if path == _LOGS and (stored := _STORED.fullmatch(exchange.response_head)):
            metrics.entries.labels("stored").inc(int(stored[1]))
            metrics.entries.labels("doubled").inc(exchange.commas + 1 - int(stored[1]))

    def _collectors(self, path: str, status: int) -> tuple[Counter, Histogram]:
        # Cached: looking them up takes as long as all the rest of this middleware.
        if (path, status) not in self._collectors_by_label:
            requests = self._metrics.requests.labels(path, str(status))
            self._collectors_by_label[path, status] = requests, self._metrics.seconds.labels(path)
        return self._collectors_by_label[path, status]

    async def _log(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        if status < 400:
            if _LOG.isEnabledFor(logging.DEBUG):
                reader = await self._reader_of(scope)
                took = round(seconds * 1000, 1)
                fields = {"reader": reader, "path": path, "status": status, "ms": took}
                logs.event(_LOG, logging.DEBUG, "reader answered", **fields)
            return
        address = scope["client"][0] if scope.get("client") else "unknown"
        claimed = Headers(scope=scope).get("x-authreader", "")
        if status == _FORBIDDEN and self._unknown_readers.claim_write(claimed):
            await run_in_threadpool(self._unknown_readers.write, claimed)
        suppressed = self._refusals.claim_line(claimed or address, status)
        if suppressed is None:
            return
        fields = {"reader": await self._reader_of(scope), "address": address, "path": path}
        if status == _FORBIDDEN and fields["reader"] == _UNKNOWN:
            fields |= await run_in_threadpool(self._describe_stranger, claimed)
        if suppressed:
            fields["untold"] = suppressed
        name = "reader refused" if status < 500 else "reader not served"
        logs.event(_LOG, logging.WARNING, name, **fields, status=status)

    async def _reader_of(self, scope: Scope) -> str:
        claimed = Headers(scope=scope).get("x-authreader", "")
        return claimed if await run_in_threadpool(self._is_known, claimed) else _UNKNOWN

    def _is_known(self, code: str) -> bool:
        try:
            with self._database.snapshot() as session:
                return find_reader(session, code) is not None
        except SQLAlchemyError:
            return False

    def _describe_stranger(self, code: str) -> dict[str, str]:
        hint = {"hint": "kalitka hub reader add CODE"}
        try:
            check_reader_code(code)
            with self._database.snapshot() as session:
                if is_secret(session, code):
                    return {"hint": "the reader sends its secret in the place of its code"}
        except (InvalidRequest, SQLAlchemyError):
            return hint
        return {"claimed": code if len(code) <= _SHOWN else code[:_SHOWN] + "...", **hint}


class _ObservedRequest:
    """A request and its answer as they pass through. status: 500 until the answer begins."""

    def __init__(self, receive: Receive, send: Send, metrics: Metrics) -> None:
        self._receive = receive
        self._send = send
        self._metrics = metrics
        self._begun = False
        self._streaming = False
        self._ended = False
        self.status = 500
        self.request_head = b""
        self.commas = 0
        self.response_head = b""

    async def receive(self) -> Message:
        message = await self._receive()
        body = message.get("body", b"")
        if body:
            self.request_head += body[: _HEAD - len(self.request_head)]
            self.commas += body.count(b",")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            if len(self.response_head) < _HEAD:
                self.response_head += message.get("body", b"")[: _HEAD - len(self.response_head)]
            self._ended = not message.get("more_body", False)
            if not self._ended and not self._streaming:
                self._streaming = True
                self._metrics.answers_streaming.inc()
        await self._send(message)

    def end(self) -> None:
        if self._streaming:
            self._metrics.answers_streaming.dec()
        if self._begun and not self._ended:
            self._metrics.answers_cut.inc()

    def sync_kind(self) -> str:
        since, _, listed = self.request_head.partition(b"%")
        if not since:
            return "codes"
        if not since.strip(b"0"):
            return "codes" if listed else "full"
        if self.response_head.startswith(b"0%"):
            return "reset"
        return "none" if _UNCHANGED.fullmatch(self.response_head) else "incremental"


class _RefusalLimiter:
    """A limiter of log lines: one a minute for each reader and status of refused requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -1
        self._logged: set[tuple[str, int]] = set()
        self._suppressed = 0

    def claim_line(self, who: str, status: int) -> int | None:
        """Claim this minute's line: return None to suppress it, else how many were suppressed."""
        minute = current_minute(self._clock)
        if minute != self._minute:
            self._minute = minute
            self._logged.clear()
        if (who, status) in self._logged or len(self._logged) >= _LOGGED_MAX:
            self._suppressed += 1
            return None
        self._logged.add((who, status))
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


def _path_label(path: str) -> str:
    name = _READER_PATHS.get(path) or _OTHER_PATHS.get(path)
    if name:
        return name
    if kormitel_http.is_path(path):
        return _KORMITEL
    return "api" if path.startswith(f"{api.PREFIX}/") else "other"
