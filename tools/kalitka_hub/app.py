"""The hub as an ASGI application: its routes, and what every error looks like.

Errors are one line of plain text, for a person with `curl` and for the log of a reader. Every
answer says in a header that it is this hub's: then a reader of ours sends what others would not
understand.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from . import token_reader_api
from .changes import changing
from .database import Database
from .state import HubState
from .zone import check_zone

_LOG = logging.getLogger(__name__)
_THIS_IS_US = (b"x-kalitka", b"1")


class _Hub(FastAPI):
    # Not a middleware: those do not see the answer to a fault that nobody handled.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _THIS_IS_US]
            await send(message)

        await super().__call__(scope, receive, send_marked)


def create_app(database: Database, zone: str = "UTC0") -> FastAPI:
    """Return the application that serves this database. Raises Refused for a bad zone.

    zone: the name of the site's time zone, or a POSIX TZ string.
    It writes the last sightings down when it stops; closing the database is left to the caller.
    """
    state = HubState(database, check_zone(zone))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(_write_sightings, state)

    # This API is for readers: its description is the protocol, so there are no pages of docs.
    app = _Hub(
        title="Kalitka hub",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: _http_error,
            OperationalError: _database_error,
            ClientDisconnect: _disconnected,
        },
    )
    app.state.hub = state
    app.include_router(token_reader_api.router)
    app.add_api_route("/healthz", _healthy, methods=["GET"])
    return app


async def _healthy() -> PlainTextResponse:
    return PlainTextResponse("ok")


def _write_sightings(state: HubState) -> None:
    with changing(state.database) as session:
        state.sightings.write(session)


async def _http_error(request: Request, fault: Exception) -> PlainTextResponse:
    assert isinstance(fault, HTTPException)
    text = fault.detail
    if fault.status_code == 404:
        text = (
            "no such path: readers ask /api/v1/token-reader/access-tokens/sync, "
            "/api/v1/token-reader/access-logs, /api/v1/token-reader/time and "
            "/api/v2/token-reader/time"
        )
    elif fault.status_code == 405:
        allowed = (fault.headers or {}).get("Allow", "another method")
        text = f"{request.method} is not for this path: use {allowed}"
    return PlainTextResponse(f"{text}\n", fault.status_code, headers=fault.headers)


async def _database_error(_request: Request, fault: Exception) -> PlainTextResponse:
    assert isinstance(fault, OperationalError)
    _LOG.error("database: %s", fault.orig)
    return PlainTextResponse("the database is busy or unavailable: ask again later\n", 503)


async def _disconnected(_request: Request, _fault: Exception) -> PlainTextResponse:
    # Nobody is there to read it.
    return PlainTextResponse("the request was cut off\n", 400)
