"""The site's time zone, stored in the database: every process of the site has the same.

Holiday dates, meals, and the times of grants and schedules are in this zone. It is chosen by a
person, never guessed, and stored as the POSIX TZ string that the readers understand (see `zone`)
with the IANA name that it was given by. Until it is set, local times count as UTC, and no server
starts while any depend on it.

Dates of grants and schedules are local: a change of the zone moves them, so that they read as
before.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.local_time import first_minute_from, minutes_of_local
from kalitka_hub.site.schedule_rules import FOREVER
from kalitka_hub.site.zone import check_zone, zone_in_words
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import (
    ZONE_MAX,
    DirectRule,
    Grant,
    Holiday,
    Schedule,
    ScheduleWindow,
    Site,
)

UTC = "UTC0"
HOW_TO_SET = "`kalitka hub site set --zone Europe/Moscow` (the name of the site's own zone)"


class SiteZone(NamedTuple):
    """The zone as it is stored. posix: None until it is set. name: None if given as `MSK-3`."""

    posix: str | None
    name: str | None

    def in_words(self, minute: int) -> str:
        """Return the zone as people read it: `Europe/Moscow (UTC+03:00)`, as of a minute."""
        if self.posix is None:
            return "not set"
        return zone_in_words(self.name or self.posix, self.posix, minute)


def stored_zone(session: Session) -> SiteZone:
    """Return the zone as it is stored."""
    return SiteZone(*session.execute(select(Site.zone, Site.zone_name)).one())


def zone_of(session: Session) -> Zone:
    """Return the zone of the site; UTC until it is set."""
    return Zone(stored_zone(session).posix or UTC)


def zone_for_readers(session: Session) -> str | None:
    """Return the POSIX TZ string that readers are told.

    None if it is not set although schedules or the like depend on it: a reader then keeps the zone
    it has, or denies what needs one. Without any it is UTC.
    """
    posix = stored_zone(session).posix
    return posix or (None if local_times(session) else UTC)


def local_times(session: Session) -> dict[str, int]:
    """Return what the zone decides on: numbers above 0, by plural nouns."""
    meals = session.execute(select(Site.kormitel_meals)).scalar_one() or ()
    arrivals = (
        KormitelObject.kind.in_(("arrivals", "paid_arrivals")),
        KormitelObject.born.is_not(None) & KormitelObject.died.is_(None),
    )
    counts = {
        "schedules": _count(session, Schedule.id),
        "grants": _count(session, Grant.id),
        "holidays": _count(session, Holiday.id),
        "meals": len(meals),
        "arrivals": _count(session, KormitelObject.id, *arrivals),
    }
    return {noun: count for noun, count in counts.items() if count}


def count_manual_hours(session: Session) -> int:
    """Return the number of manual rules with hours, which readers compare with local time."""
    hours = or_(*(DirectRule.text.startswith(f"{kind}_", autoescape=True) for kind in "37"))
    return _count(session, DirectRule.text, hours)


def missing_zone(session: Session) -> str | None:
    """Return what to do if local times depend on a zone that nobody has set; None if none does."""
    if stored_zone(session).posix is not None or not (found := local_times(session)):
        return None
    counts = ", ".join(f"{noun} {count}" for noun, count in found.items())
    return (
        f"the site's time zone is not set, and local times depend on it ({counts}): set it once, "
        f"with {HOW_TO_SET}"
    )


def set_zone(session: Session, text: str) -> bool:
    """Set the zone by IANA name or as a POSIX TZ string; return whether anything changed.

    Moves the dates of grants and schedules along. After a change the caller recompiles all rules:
    `canteen.recompute_site`. Requires a session from `write_transaction`. Raises InvalidRequest.
    """
    change_stamp(session)
    posix = check_zone(text)
    if len(posix) > ZONE_MAX:
        raise InvalidRequest(f"{text[:40]}...: a zone has at most {ZONE_MAX} characters")
    before, after = stored_zone(session), SiteZone(posix, None if posix == text else text)
    if before == after:
        return False
    _move_dates(session, zone_of(session), Zone(posix))
    session.execute(update(Site).values(zone=after.posix, zone_name=after.name))
    audit.record(
        session,
        "change",
        "site",
        "zone",
        *({"zone": zone.name or zone.posix, "posix": zone.posix} for zone in (before, after)),
    )
    return True


def dated_grants(session: Session) -> Iterator[Grant]:
    """Yield the grants with a first or a last minute, by number."""
    yield from session.scalars(
        select(Grant)
        .where(Grant.first_minute.is_not(None) | Grant.last_minute.is_not(None))
        .order_by(Grant.id)
    )


def _move_dates(session: Session, before: Zone, after: Zone) -> None:
    if before.text == after.text:
        return
    dated = ScheduleWindow.first_minute.is_not(None) | ScheduleWindow.last_minute.is_not(None)
    for row in [*dated_grants(session), *session.scalars(select(ScheduleWindow).where(dated))]:
        row.first_minute = _moved(row.first_minute, before, after, _first)
        row.last_minute = _moved(row.last_minute, before, after, _last)
    session.flush()


def _moved(
    minute: int | None, before: Zone, after: Zone, choose: Callable[[int, Zone], int]
) -> int | None:
    """Return the minute at which the clocks of `after` show what those of `before` show then."""
    if minute is None:
        return None
    before.update(minute)
    local = minute + before.offset
    was, will_be = minutes_of_local(local, before), minutes_of_local(local, after)
    # Twice in both: the first stays the first, the second the second.
    twice = len(was) == len(will_be) == 2
    moved = will_be[was.index(minute)] if twice else choose(local, after)
    return min(max(moved, 0), FOREVER)


def _first(local: int, zone: Zone) -> int:
    return first_minute_from(local, zone)


def _last(local: int, zone: Zone) -> int:
    minutes = minutes_of_local(local, zone)
    # A local minute that the clocks skip: what comes before it is the last.
    return minutes[-1] if minutes else first_minute_from(local, zone) - 1


def _count(session: Session, column: object, *conditions: ColumnElement[bool]) -> int:
    return session.execute(select(func.count(column)).where(*conditions)).scalar_one()  # type: ignore[arg-type]
