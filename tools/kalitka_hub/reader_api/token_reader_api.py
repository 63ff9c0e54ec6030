"""The token-reader API over HTTP: the endpoints for sync, the access log and the time.

Source: the protocol, "The token-reader API". Requests carry X-AuthToken (the reader's
own secret, or the site's if it has none) and X-AuthReader (the reader's code). Errors are answered
with one line of plain text, or in JSON by Accept; see `web.plain_errors`. Answers are never
compressed; a short answer has a Content-Length, a longer one is chunked.

A separate ASGI application, without a web framework's layers around each request: that halves the
cost of a poll without changes, and most polls are such.
"""

import logging
from asyncio import timeout
from contextlib import nullcontext
from itertools import chain
from typing import NamedTuple

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from kalitka_hub import logs
from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api import access_log, sync_answer, sync_request
from kalitka_hub.reader_api.access_log import ReceivedBatch
from kalitka_hub.reader_api.reader_auth import AuthenticatedReader, ReaderRequest
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.reader_api.sync_request import SyncRequest
from kalitka_hub.site.clock_check import clock_problem
from kalitka_hub.site.site_zone import HOW_TO_SET, zone_for_readers
from kalitka_hub.site.zone import whole_hours
from kalitka_hub.store.database import Database
from kalitka_hub.web.plain_errors import HANDLED_ERRORS, error_response, method_not_allowed
from kalitka_hub.web.snapshot_response import SnapshotResponse

BODY_MAX = 1 << 20  # bytes of a request
_LONG_LOG = 1 << 16  # bytes; a parsed log takes ten times its length in memory
_POLL_MAX = 64  # bytes of a body that is read before authentication
_DIGITS_MAX = 10  # of the number in X-Kalitka-Lost
BODY_SECONDS = 30  # for the whole request body to arrive
SYNC = "/api/v1/token-reader/access-tokens/sync"
ACCESS_LOGS = "/api/v1/token-reader/access-logs"
TIME_WITH_ZONE = "/api/v2/token-reader/time"
TIME_WITH_HOURS = "/api/v1/token-reader/time"
ZONE_HEADER = "X-Kalitka-Zone"  # the site's POSIX TZ string, where the time is refused
_NO_STORE = {"Cache-Control": "no-store"}
_LOG = logging.getLogger(__name__)


class TokenReaderApi:
    """The API of one server process, as an ASGI application for the paths in PATHS."""

    def __init__(self, state: HubState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        request = Request(scope, receive)
        handle, *methods = _HANDLERS[scope["path"]]
        try:
            if scope["method"] not in methods:
                raise method_not_allowed(scope["method"], *methods)
            response = await handle(self._state, request)
        except HANDLED_ERRORS as fault:
            response = error_response(fault, request)
        except Exception as fault:
            # The server logs the exception.
            await error_response(fault, request)(scope, receive, send)
            raise
        await response(scope, receive, send)


async def _sync(state: HubState, request: Request) -> Response:
    # Missing headers are refused before the body is read. A poll is authenticated once, together
    # with its minute; a longer body takes long to read, so its sender is authenticated before.
    credentials = _reader_request(request)
    if not _is_short(request):
        await _authenticate(state, credentials)
    body = await _read_body(request)
    query = (
        _parse_sync(body) if len(body) <= _POLL_MAX else await run_in_threadpool(_parse_sync, body)
    )
    if isinstance(query, SyncRequest) and query.keys is None:
        credentials = credentials._replace(since=query.since)
    reader = await _authenticate(state, credentials)
    if isinstance(query, InvalidRequest):
        raise HTTPException(400, str(query))
    if query.since is not None:
        state.last_seen.record_poll(reader.id, query.since)
        if query.since and query.keys is None:
            state.last_seen.record_held(reader.id, query.since)
    # Rule 1 of `store.changes`: the minute is raised before the answer is read. If that was due,
    # the look-up above is older than the raise, and has to be repeated.
    if await state.minute_updater.update_if_due():
        reader = await _authenticate(state, credentials)
    if reader.unchanged_minute is not None:
        return PlainTextResponse(sync_answer.unchanged_answer(reader.unchanged_minute))
    return await run_in_threadpool(_sync_response, state, reader.id, query)


async def _access_logs(state: HubState, request: Request) -> Response:
    reader = await _authenticate(state, _reader_request(request))
    body = await _read_body(request)
    log = request.headers.get("X-Kalitka-Log")
    lost = _lost_count(request)
    # A memory bound: few long logs are parsed at a time.
    async with state.long_logs if len(body) > _LONG_LOG else nullcontext():
        try:
            batch = await run_in_threadpool(access_log.parse, body, log)
        except InvalidRequest as fault:
            raise HTTPException(400, str(fault)) from fault
        stored = await state.log_writer.submit(ReceivedBatch(reader.code, batch))
    if stored:
        for what, count in access_log.reader_alarms(batch):
            # The notice of what cannot wait until somebody reads the log.
            fields = {"reader": reader.code, "what": what, **({"count": count} if count else {})}
            logs.event(_LOG, logging.WARNING, "reader alarm", **fields)
            state.reader_alarms[what] += 1
    state.last_seen.record_log(reader.id, int(state.database.clock()), lost)
    return PlainTextResponse(f"ok,{stored}")


async def _time_with_zone(state: HubState, request: Request) -> Response:
    """Answer `MINUTE,POSIXTZ,SECONDS`: Unix time in UTC, and the site's time zone.

    A zone that nobody has set although local times depend on it is not guessed: it is empty.
    """
    await _authenticate(state, _reader_request(request))
    place = await run_in_threadpool(_place, state.database)
    return _time_response(state, place, place.zone or "")


async def _time_with_hours(state: HubState, request: Request) -> Response:
    """Answer `MINUTE,HOURS,SECONDS`: as above, with whole hours east of UTC for the zone."""
    await _authenticate(state, _reader_request(request))
    place = await run_in_threadpool(_place, state.database)
    if place.zone is None:
        raise HTTPException(503, f"the site's time zone is not set: set it with {HOW_TO_SET}")
    hours = whole_hours(place.zone, current_minute(state.database.clock))
    return _time_response(state, place, str(hours))


_HANDLERS: dict[str, tuple] = {
    SYNC: (_sync, "POST"),
    ACCESS_LOGS: (_access_logs, "POST"),
    TIME_WITH_ZONE: (_time_with_zone, "GET", "HEAD"),
    TIME_WITH_HOURS: (_time_with_hours, "GET", "HEAD"),
}
PATHS = tuple(_HANDLERS)


def _reader_request(request: Request) -> ReaderRequest:
    token = request.headers.get("X-AuthToken")
    code = request.headers.get("X-AuthReader")
    if not token:
        raise HTTPException(401, "the header X-AuthToken is missing: send the reader's secret")
    if not code:
        raise HTTPException(401, "the header X-AuthReader is missing: send the reader's code")
    # Starlette decodes header bytes as Latin-1.
    return ReaderRequest(code, token.encode("latin-1"))


async def _authenticate(state: HubState, credentials: ReaderRequest) -> AuthenticatedReader:
    """Return the reader that sent the request, and record that it was seen. Raises 403."""
    reader = await state.authenticator.submit(credentials)
    if reader is None:
        raise HTTPException(
            403,
            "wrong secret, or unknown or revoked reader: send a code from `kalitka hub reader "
            "list` and its secret; `kalitka hub reader secret CODE` makes a new one",
        )
    state.last_seen.record_seen(reader.id, current_minute(state.database.clock))
    return reader


def _lost_count(request: Request) -> int | None:
    # An invalid number is ignored, not refused: the entries matter more.
    text = request.headers.get("X-Kalitka-Lost", "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= _DIGITS_MAX else None


class _Place(NamedTuple):
    # zone: a POSIX TZ string, None if nobody has set it. clock_problem: see `clock_check`.
    zone: str | None
    clock_problem: str | None


def _place(database: Database) -> _Place:
    # Read each time: another process may have changed it, and readers ask once a day.
    with database.snapshot() as session:
        return _Place(zone_for_readers(session), clock_problem(session, database.clock()))


def _time_response(state: HubState, place: _Place, zone: str) -> Response:
    if place.clock_problem:
        # The zone is right whatever the clock says: it is told beside the refusal.
        beside = {ZONE_HEADER: place.zone} if place.zone else {}
        raise HTTPException(503, place.clock_problem, headers=_NO_STORE | beside)
    # The computer's clock as it is, even after a small correction backwards, because readers set
    # their clocks by it. Only the minute of a sync answer never goes back.
    seconds = int(state.database.clock())
    return PlainTextResponse(f"{seconds // 60},{zone},{seconds}", headers=_NO_STORE)


def _sync_response(state: HubState, reader_id: int, request: SyncRequest) -> Response:
    chunks = sync_answer.stream_answer(state.database, reader_id, request)
    head = next(chunks)
    second = next(chunks, None)
    if second is None:
        return PlainTextResponse(head)
    return SnapshotResponse(chain((head, second), chunks), chunks.close)


def _parse_sync(body: bytes) -> SyncRequest | InvalidRequest:
    try:
        return sync_request.parse(body)
    except InvalidRequest as fault:
        return fault


def _is_short(request: Request) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdigit() and int(declared) <= _POLL_MAX


async def _read_body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_MAX:
        raise _too_large()
    body = bytearray()
    try:
        async with timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_MAX:
                    raise _too_large()
    except TimeoutError as fault:
        raise HTTPException(408, "the body did not arrive in time: send it again") from fault
    return bytes(body)


def _too_large() -> HTTPException:
    return HTTPException(
        413,
        f"the body is longer than {BODY_MAX} bytes: send fewer codes or entries at a time",
    )
