"""The site at a glance: counts, and the readers that have gone silent."""

from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from kalitka_hub.site.clock_check import clock_problem
from kalitka_hub.site.site_zone import UTC, stored_zone
from kalitka_hub.store.changes import acknowledged_minute
from kalitka_hub.store.models import Person, Reader, Token

LATE_MINUTES = 10  # a reader polls once a minute: more than a few lost packets
LATE_MAX = 100  # late readers listed; the others are only counted


class LateReader(BaseModel):
    """A reader not seen lately. last_seen: minute since 1970 UTC, null if never."""

    code: str
    name: str | None
    last_seen: int | None


class SiteView(BaseModel):
    """The site. now: the hub's clock, in seconds since 1970 UTC.

    clock_problem: why that clock must be wrong, null if it may be right.

    zone: a POSIX TZ string, UTC0 until it is set. zone_name: its IANA name, null if it was given
    as a POSIX string. zone_text: as people read it, `Europe/Moscow (UTC+03:00)` or `not set`.
    minute: the highest minute (since 1970 UTC) answered to a reader. late_readers: the number of
    readers not seen for more than 10 minutes, without revoked ones; late: the longest unseen of
    them, at most 100.
    """

    zone: str
    zone_name: str | None
    zone_text: str
    now: int
    clock_problem: str | None
    minute: int
    readers: int
    people: int
    tokens: int
    late_readers: int
    late: list[LateReader]


def view_of_site(session: Session, now: int) -> SiteView:
    """Return the site as it is at `now`, in seconds since 1970 UTC."""
    is_late = and_(
        Reader.revoked.is_(None),  # nobody waits for a stolen reader
        or_(Reader.last_seen.is_(None), Reader.last_seen < now // 60 - LATE_MINUTES),
    )
    longest = select(Reader).where(is_late)
    longest = longest.order_by(func.coalesce(Reader.last_seen, -1), Reader.code).limit(LATE_MAX)
    zone = stored_zone(session)
    return SiteView(
        zone=zone.posix or UTC,
        zone_name=zone.name,
        zone_text=zone.in_words(now // 60),
        now=now,
        clock_problem=clock_problem(session, now),
        minute=acknowledged_minute(session),
        readers=_count(session, Reader.id),
        people=_count(session, Person.id),
        tokens=_count(session, Token.id, Token.deleted.is_(False)),
        late_readers=_count(session, Reader.id, is_late),
        late=[
            LateReader(code=reader.code, name=reader.name, last_seen=reader.last_seen)
            for reader in session.scalars(longest)
        ],
    )


def _count(session: Session, column: Any, *conditions: ColumnElement[bool]) -> int:
    return session.execute(select(func.count(column)).where(*conditions)).scalar_one()
