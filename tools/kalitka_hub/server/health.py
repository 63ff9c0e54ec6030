"""The health check `/healthz`, for monitoring; it needs no credentials."""

from typing import Annotated

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import DBAPIError

from kalitka_hub.reader_api.state import HubState, state_of
from kalitka_hub.site.clock_check import clock_problem
from kalitka_hub.store import migrations
from kalitka_hub.store.database import Database
from kalitka_hub.web.plain_errors import RETRY_SECONDS

SECONDS = 5  # for the database to answer

router = APIRouter()
# A limiter of its own: when all other threads wait for the database, the health check still runs.
_THREADS = CapacityLimiter(2)


def problem(database: Database) -> str | None:
    """Return why the hub cannot do its work, in one line; None if it can.

    Either the database fails, or it shows that the computer's clock is wrong.
    """
    try:
        with database.snapshot() as session:
            if not migrations.is_current(session.get_bind()):  # type: ignore[arg-type]
                return "the database has another schema: restart the hub"
            return clock_problem(session, database.clock())
    except DBAPIError:
        return "the database cannot be reached"


@router.get("/healthz")
async def healthz(state: Annotated[HubState, Depends(state_of)]) -> PlainTextResponse:
    """Answer `ok`, or 503 with the problem."""
    fault: str | None = f"the database did not answer in {SECONDS} seconds"
    with move_on_after(SECONDS):
        fault = await to_thread.run_sync(
            problem, state.database, abandon_on_cancel=True, limiter=_THREADS
        )
    if fault is None:
        return PlainTextResponse("ok")
    return PlainTextResponse(f"{fault}\n", 503, headers={"Retry-After": str(RETRY_SECONDS)})
