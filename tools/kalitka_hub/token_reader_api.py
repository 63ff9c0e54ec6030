"""The token-reader API over HTTP: the endpoints of sync, of the access log and of the time.

Source: the protocol, "The token-reader API". Requests carry X-AuthToken (the site's secret) and
X-AuthReader (the reader's code). Whatever is wrong is answered with one line of text. Answers
are never compressed; a short one has a Content-Length, a longer one is chunked.
"""

from itertools import chain
from typing import Annotated

from anyio import fail_after
from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from . import access_log, sync_answer, sync_request
from .changes import acknowledge
from .clock import minute_of
from .faults import Refused
from .models import Reader
from .readers import find_reader
from .site_secret import is_secret
from .snapshot_response import SnapshotResponse
from .state import HubState, state_of
from .zone import whole_hours

BODY_MAX = 1 << 20  # bytes of a request
BODY_SECONDS = 30  # for the whole request to arrive

router = APIRouter()
State = Annotated[HubState, Depends(state_of)]


def authenticated(
    state: State,
    token: Annotated[str | None, Header(alias="X-AuthToken")] = None,
    code: Annotated[str | None, Header(alias="X-AuthReader")] = None,
) -> Reader:
    """Return the reader that asks, and note that it lives. Raises 401 and 403."""
    if not token:
        raise HTTPException(401, "the header X-AuthToken is missing: send the site's secret")
    if not code:
        raise HTTPException(401, "the header X-AuthReader is missing: send the reader's code")
    with state.database.snapshot() as session:
        # Both are always looked at, so that neither the answer nor its time tells which of
        # them was wrong. Header bytes come decoded as Latin-1.
        trusted = is_secret(session, token.encode("latin-1"))
        reader = find_reader(session, code)
    if reader is None or not trusted:
        raise HTTPException(
            403,
            "wrong secret or unknown reader: send the secret that `kalitka hub secret` gave, "
            "and a code that `kalitka hub reader list` shows",
        )
    state.sightings.note(reader.id, minute_of(state.database.clock))
    return reader


Asking = Annotated[Reader, Depends(authenticated)]


@router.post("/api/v1/token-reader/access-tokens/sync")
async def sync(request: Request, state: State, reader: Asking) -> Response:
    """Answer what changed since a minute, for all codes or some, or everything."""
    body = await _body_of(request)
    return await run_in_threadpool(_answer, state, reader.id, body)


@router.post("/api/v1/token-reader/access-logs")
async def access_logs(
    request: Request,
    state: State,
    reader: Asking,
    log: Annotated[str | None, Header(alias="X-Kalitka-Log")] = None,
) -> Response:
    """Store the reader's entries, and answer `ok,N` once they are: N of them were new."""
    body = await _body_of(request)
    return await run_in_threadpool(_store, state, reader.code, log, body)


@router.get("/api/v2/token-reader/time")
def time_with_zone(state: State, _reader: Asking) -> Response:
    """Answer `MINUTE,POSIXTZ,SECONDS`: Unix time in UTC, and the zone of the site."""
    return _time(state, state.zone)


@router.get("/api/v1/token-reader/time")
def time_with_hours(state: State, _reader: Asking) -> Response:
    """Answer `MINUTE,HOURS,SECONDS`: as above, instead of the zone the whole hours east of UTC."""
    hours = whole_hours(state.zone, minute_of(state.database.clock))
    return _time(state, str(hours))


def _time(state: HubState, zone: str) -> Response:
    # The computer's time as it is, corrections backwards included: readers set their clocks
    # by it. Only the minute of a sync answer never goes back.
    seconds = int(state.database.clock())
    return PlainTextResponse(
        f"{seconds // 60},{zone},{seconds}", headers={"Cache-Control": "no-store"}
    )


def _answer(state: HubState, reader_id: int, body: bytes) -> Response:
    try:
        request = sync_request.parse(body)
    except Refused as fault:
        raise HTTPException(400, str(fault)) from fault
    acknowledge(state.database, state.sightings)
    chunks = sync_answer.answer(state.database, reader_id, request)
    head = next(chunks)
    second = next(chunks, None)
    if second is None:
        return PlainTextResponse(head)
    return SnapshotResponse(chain((head, second), chunks), chunks.close, state.answer_seconds)


def _store(state: HubState, reader: str, log: str | None, body: bytes) -> Response:
    try:
        batch = access_log.parse(body, log)
    except Refused as fault:
        raise HTTPException(400, str(fault)) from fault
    return PlainTextResponse(f"ok,{access_log.store(state.database, reader, batch)}")


async def _body_of(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_MAX:
        raise _too_large()
    body = bytearray()
    try:
        with fail_after(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_MAX:
                    raise _too_large()
    except TimeoutError as fault:
        raise HTTPException(408, "the request did not arrive in time: send it again") from fault
    return bytes(body)


def _too_large() -> HTTPException:
    return HTTPException(
        413,
        f"the body is longer than {BODY_MAX} bytes: send fewer codes or entries at a time",
    )
