"""The REST API of the site as a whole: its status and zone, the access log, explained verdicts.

Also the readers' secrets, for admins only, and their revocation.
"""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from kalitka_hub.clock import current_minute
from kalitka_hub.kormitel.zone_change import change_zone
from kalitka_hub.reader_api import log_views
from kalitka_hub.reader_api.log_views import LogView
from kalitka_hub.rest.api import Page, Paged, create_router
from kalitka_hub.rest.auth import Admin, Operator, State, Viewer
from kalitka_hub.site import site_view
from kalitka_hub.site.explain import Explanation, explain
from kalitka_hub.site.inputs import InputModel, Name, Number, SearchText
from kalitka_hub.site.local_time import minutes_of
from kalitka_hub.site.reader_secrets import revoke_reader, set_reader_secret
from kalitka_hub.site.readers import ReaderView, show_reader
from kalitka_hub.site.schedule_rules import FOREVER
from kalitka_hub.site.site_secret import new_secret
from kalitka_hub.site.site_view import SiteView
from kalitka_hub.site.site_zone import UTC, stored_zone, zone_of
from kalitka_hub.site.unknown_readers import UnknownReaderView, list_unknown
from kalitka_hub.site.zone_preview import Moved
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import NAME_MAX

_CODE_MAX = 4 * 255  # characters: the log writes a byte that is not UTF-8 as four, `\xff`
_SECONDS_MAX = len(str(FOREVER * 60))  # digits

# Route order: this router comes before `rest.resources`, whose /readers/{code} also matches
# slashes and would swallow /readers/{code}/secret.
router = create_router()
ReaderCode = Annotated[SearchText, Path(max_length=NAME_MAX)]
OfReader = Annotated[
    SearchText | None, Query(max_length=NAME_MAX, description="By the code of the reader.")
]
OfCode = Annotated[SearchText | None, Query(max_length=_CODE_MAX, description="By token code.")]
Since = Annotated[
    Number | None, Query(description="From this time on (inclusive), seconds since 1970 UTC.")
]
Until = Annotated[
    Number | None, Query(description="Before this time (exclusive), seconds since 1970 UTC.")
]
At = Annotated[
    SearchText | None,
    Query(
        max_length=40,
        description=(
            "The time: seconds since 1970 UTC, or local time of the site such as "
            "`2026-11-01T08:00`. By default now."
        ),
    ),
]


class ReaderSecret(BaseModel):
    """A reader's own secret, to be put into its settings. It is never shown again."""

    secret: str


class ZoneSetting(InputModel):
    """A time zone: a name such as Europe/Moscow, or a POSIX zone such as MSK-3."""

    zone: Name


class ZoneReport(BaseModel):
    """A change of the zone. zone, zone_name, zone_text: as in the site, after the change.

    changed: whether anything is not as before. moves: what the change moves, in words, by what it
    is; empty if local times stay as they are.
    """

    zone: str
    zone_name: str | None
    zone_text: str
    changed: bool
    moves: dict[str, Moved]


@router.get("/site", tags=["site"], operation_id="show_site")
def show_site(state: State, _caller: Viewer) -> SiteView:
    """Show the status of the site."""
    with state.database.snapshot() as session:
        return site_view.view_of_site(session, int(state.database.clock()))


@router.put("/site/zone", tags=["site"], operation_id="set_zone")
def set_site_zone(
    state: State,
    caller: Admin,
    data: ZoneSetting,
    preview: Annotated[bool, Query(description="Report what moves, change nothing.")] = False,
) -> ZoneReport:
    """Set the time zone of all local times.

    A change moves schedules, holidays, meals and the dates of grants: look at it with `preview`
    first. Servers that run go on in the new zone; readers take it when they next ask for the time,
    within a day. Requires the role admin.
    """
    with write_transaction(state.database, caller.who) as session:
        change = change_zone(session, data.zone, current_minute(state.database.clock))
        zone = stored_zone(session)
        if preview:
            session.rollback()
    return ZoneReport(
        zone=zone.posix or UTC,
        zone_name=zone.name,
        zone_text=change.words,
        changed=change.changes,
        moves=dict(change.moves),
    )


@router.get("/log", tags=["log"], operation_id="list_log")
def list_log(
    state: State,
    _caller: Viewer,
    paging: Paged,
    reader: OfReader = None,
    code: OfCode = None,
    since: Since = None,
    until: Until = None,
    denied: Annotated[bool, Query(description="Only denied passes.")] = False,
) -> Page[LogView]:
    """List the entries of the access log, newest first."""
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
    """Explain a reader's verdict on a token at a time: whether it is allowed, and why."""
    now = int(state.database.clock()) // 60
    with state.database.snapshot() as session:
        minute = now if at is None else parse_minute(session, at)
        return explain(session, reader, code, minute, now)


@router.get("/unknown-readers", tags=["readers"], operation_id="list_unknown_readers")
def list_unknown_readers(state: State, _caller: Viewer) -> Page[UnknownReaderView]:
    """List readers that asked this hub without being added, the last one first: at most 20.

    Add one with `POST /readers`; that takes it off the list.
    """
    with state.database.snapshot() as session:
        return Page(items=list_unknown(session), next=None)


@router.put("/readers/{code}/secret", tags=["readers"], operation_id="make_reader_secret")
def make_reader_secret(state: State, caller: Admin, code: ReaderCode) -> ReaderSecret:
    """Create or replace a reader's own secret, which is shown only once; ends a revocation.

    Requires the role admin.
    """
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
    """Remove a reader's own secret: the reader then uses the site's, to migrate from older hubs.

    A revoked reader is not returned to the site's secret, which it may know. Requires the role
    admin.
    """
    with write_transaction(state.database, caller.who) as session:
        set_reader_secret(session, code, None)


@router.post("/readers/{code}/revoke", tags=["readers"], operation_id="revoke_reader")
def revoke(state: State, caller: Operator, code: ReaderCode) -> ReaderView:
    """Shut out a stolen reader: it is refused with its own secret and with the site's.

    It stays registered; a new secret of its own admits its replacement. If it used the site's
    secret (`own_secret` is false), give other readers their own, or replace the site's.
    """
    with write_transaction(state.database, caller.who) as session:
        revoke_reader(session, code)
        return show_reader(session, code)


def parse_minute(session: Session, at: str) -> int:
    """Parse a time in a form that `At` takes; return minutes since 1970 UTC.

    Raises InvalidRequest.
    """
    if at.isascii() and at.isdigit() and len(at) <= _SECONDS_MAX and int(at) // 60 <= FOREVER:
        return int(at) // 60
    return minutes_of(at, zone_of(session))[0]
