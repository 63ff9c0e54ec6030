"""The REST API of the site as a whole: how it is, what happened at its doors, and why.

Also the secret that a reader has for itself, which is for admins alone.
"""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from kalitka_hub.reader_api import log_views
from kalitka_hub.reader_api.log_views import LogView
from kalitka_hub.rest.api import Number, Page, Paged, SearchText, create_router
from kalitka_hub.rest.auth import Admin, State, Viewer
from kalitka_hub.site import site_view
from kalitka_hub.site.explain import Explanation, explain
from kalitka_hub.site.local_time import minutes_of
from kalitka_hub.site.reader_secrets import set_reader_secret
from kalitka_hub.site.schedule_rules import FOREVER
from kalitka_hub.site.site_secret import new_secret
from kalitka_hub.site.site_view import SiteView
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import NAME_MAX

_CODE_MAX = 4 * 255  # characters: of what is not UTF-8 the log has four for a byte
_SECONDS_MAX = len(str(FOREVER * 60))  # digits

# The secrets stand before what `rest.resources` has for /readers/{code}, which takes slashes.
router = create_router()
ReaderCode = Annotated[SearchText, Path(max_length=NAME_MAX)]
OfReader = Annotated[
    SearchText | None, Query(max_length=NAME_MAX, description="Only at this reader, by its code.")
]
OfCode = Annotated[
    SearchText | None, Query(max_length=_CODE_MAX, description="Only of this token code.")
]
Since = Annotated[
    Number | None, Query(description="Only at this time or later, in seconds since 1970 UTC.")
]
Until = Annotated[
    Number | None, Query(description="Only before this time, in seconds since 1970 UTC.")
]
At = Annotated[
    SearchText | None,
    Query(
        max_length=40,
        description=(
            "When: seconds since 1970 UTC, or a local time of the site such as "
            "`2026-11-01T08:00`; without it now."
        ),
    ),
]


class ReaderSecret(BaseModel):
    """A reader's own secret, for its settings. It is never shown again."""

    secret: str


@router.get("/site", tags=["site"], operation_id="show_site")
def show_site(state: State, _caller: Viewer) -> SiteView:
    """Show the site at a glance."""
    with state.database.snapshot() as session:
        return site_view.view_of_site(session, int(state.database.clock()))


@router.get("/log", tags=["log"], operation_id="list_log")
def list_log(
    state: State,
    _caller: Viewer,
    paging: Paged,
    reader: OfReader = None,
    code: OfCode = None,
    since: Since = None,
    until: Until = None,
    denied: Annotated[bool, Query(description="Only passes that were refused.")] = False,
) -> Page[LogView]:
    """List what happened at the doors, newest first."""
    with state.database.snapshot() as session:
        found = log_views.list_log(
            session,
            paging.after_id,
            paging.limit + 1,
            reader=reader,
            code=code,
            since=since,
            until=until,
            denied=denied,
        )
    return paging.page(found, lambda entry: entry.id)


@router.get("/log/{id}", tags=["log"], operation_id="show_log_entry")
def show_log_entry(
    state: State,
    _caller: Viewer,
    number: Annotated[Number, Path(alias="id")],
) -> LogView:
    """Show an entry of the access log."""
    with state.database.snapshot() as session:
        return log_views.find_log(session, number)


@router.get("/explain", tags=["log"], operation_id="explain")
def explain_pass(
    state: State,
    _caller: Viewer,
    reader: Annotated[SearchText, Query(max_length=NAME_MAX, description="The reader's code.")],
    code: Annotated[SearchText, Query(max_length=_CODE_MAX, description="The token code.")],
    at: At = None,
) -> Explanation:
    """Tell whether a reader would let a token in at a time, and why."""
    now = int(state.database.clock()) // 60
    with state.database.snapshot() as session:
        minute = now if at is None else parse_minute(session, at)
        return explain(session, reader, code, minute, now)


@router.put("/readers/{code}/secret", tags=["readers"], operation_id="make_reader_secret")
def make_reader_secret(state: State, caller: Admin, code: ReaderCode) -> ReaderSecret:
    """Make a secret for a reader alone, in the place of the one it has. It is shown this once."""
    secret = new_secret()
    with write_transaction(state.database, caller.who) as session:
        set_reader_secret(session, code, secret)
    return ReaderSecret(secret=secret)


@router.delete(
    "/readers/{code}/secret",
    status_code=204,
    tags=["readers"],
    operation_id="remove_reader_secret",
)
def remove_reader_secret(state: State, caller: Admin, code: ReaderCode) -> None:
    """Have a reader ask with the site's secret again."""
    with write_transaction(state.database, caller.who) as session:
        set_reader_secret(session, code, None)


def parse_minute(session: Session, at: str) -> int:
    """Return the minute since 1970 UTC of what `At` takes. Raises InvalidRequest."""
    if at.isascii() and at.isdigit() and len(at) <= _SECONDS_MAX and int(at) // 60 <= FOREVER:
        return int(at) // 60
    return minutes_of(at, zone_of(session))[0]
