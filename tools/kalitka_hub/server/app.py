"""The hub as an ASGI application: its routes and its error responses.

Errors are one line of plain text, for a person with `curl` and for the log of a reader, or JSON if
the client asks for it; those of the REST API, a separate application below `api.PREFIX`, and of
the exchange with Kormitel are always JSON. Every answer has the header `X-Kalitka: 1`: with it,
our firmware uses forms that other servers would not understand.
"""

import logging
from asyncio import create_task, sleep
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalitka_hub import logs
from kalitka_hub.kormitel import http_api as kormitel_http
from kalitka_hub.kormitel.canteen import refresh_daily
from kalitka_hub.reader_api import token_reader_api
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.rest import accounts, api, codes, csv_files, kormitel, resources, site
from kalitka_hub.server import health, metrics
from kalitka_hub.server.instrumentation import Instrumentation
from kalitka_hub.site.clock_check import clock_problem
from kalitka_hub.site.site_zone import SiteZone, stored_zone
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.web import plain_errors

_CALENDAR_SECONDS = 60  # between checks for a new local day
_LOG = logging.getLogger(__name__)
_THIS_IS_US = (b"x-kalitka", b"1")
_UNKNOWN = (
    f"no such path: readers use {', '.join(token_reader_api.PATHS)}; for programs see "
    f"{api.PREFIX}/docs"
)


class _Hub(FastAPI):
    readers: ASGIApp  # for the token-reader API's paths
    exchange: ASGIApp  # for Kormitel's paths

    # Not a middleware: middleware does not see the answer to an unhandled exception.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _THIS_IS_US]
            await send(message)

        if scope["type"] == "http" and scope["path"] in token_reader_api.PATHS:
            await self.readers(scope, receive, send_marked)
        elif scope["type"] == "http" and kormitel_http.is_path(scope["path"]):
            await self.exchange(scope, receive, send_marked)
        else:
            await super().__call__(scope, receive, send_marked)


def create_app(database: Database, *, metrics_for_all: bool = False) -> FastAPI:
    """Return the application for this database.

    metrics_for_all: every client may read /metrics, not only this computer and API tokens. The
    application refreshes the rules each day and writes the readers' `last_seen` at shutdown; the
    caller calls `canteen.refresh_daily` for the first day, and closes the database.
    """
    state = HubState(database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        minutely = create_task(_refresh_calendar(database)), create_task(_watch_site(database))
        yield
        for task in minutely:
            task.cancel()
        await run_in_threadpool(_write_last_seen, state)

    # No OpenAPI outside the REST API: the token-reader API is described by the protocol.
    app = _Hub(
        title="Kalitka hub",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=dict.fromkeys(plain_errors.HANDLED_ERRORS, _error),
    )
    app.state.hub = state
    app.include_router(health.router)
    app.include_router(metrics.router)
    # Route order: `site` and `codes` come before `resources`, whose paths also match slashes.
    rooms = (accounts, site, codes, csv_files, kormitel, resources)
    app.mount(api.PREFIX, api.create_api(state, [room.router for room in rooms]))
    app.state.metrics = figures = metrics.Metrics(database, state.reader_alarms)
    app.state.metrics_for_all = metrics_for_all
    app.add_middleware(Instrumentation, database=database, metrics=figures)
    app.readers = Instrumentation(token_reader_api.TokenReaderApi(state), database, figures)
    app.exchange = Instrumentation(kormitel_http.create_api(state), database, figures)
    return app


async def _refresh_calendar(database: Database) -> None:
    # With each local day another day comes within the horizon of the holidays. The caller of
    # `create_app` has refreshed today's rules.
    while True:
        await sleep(_CALENDAR_SECONDS)
        try:
            await run_in_threadpool(refresh_daily, database)
        except Exception:
            # The loop must survive any error: without it gates would stay open on holidays.
            _LOG.exception("the daily refresh of the rules failed")


async def _watch_site(database: Database) -> None:
    # What people must hear of without asking: a clock that is wrong, and another process's change
    # of the zone. Each is logged once, when it comes and when it goes.
    before = was_wrong = None
    while True:
        try:
            zone, clock = await run_in_threadpool(_zone_and_clock, database)
        except DBAPIError as fault:
            logs.handled_error(_LOG, "the zone and the clock could not be checked", fault)
        else:
            if before not in (None, zone):
                words = zone.in_words(int(database.clock() // 60))
                logs.event(_LOG, logging.INFO, "the site's zone changed", zone=words)
            if clock and not was_wrong:
                logs.event(_LOG, logging.WARNING, clock)
            elif was_wrong and not clock:
                logs.event(_LOG, logging.INFO, "the hub's clock is right again")
            before, was_wrong = zone, clock
        await sleep(_CALENDAR_SECONDS)


def _zone_and_clock(database: Database) -> tuple[SiteZone, str | None]:
    with database.snapshot() as session:
        return stored_zone(session), clock_problem(session, database.clock())


def _write_last_seen(state: HubState) -> None:
    with write_transaction(state.database) as session:
        state.last_seen.write(session)


async def _error(request: Request, fault: Exception) -> Response:
    return plain_errors.error_response(fault, request, _UNKNOWN)
