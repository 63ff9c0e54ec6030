"""What a change of the site's zone moves, in words, for the person who is about to make it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka.access.timezone import Zone
from kalitka_hub.site.local_time import clock_text, first_minute_from, local_text
from kalitka_hub.site.site_zone import (
    SiteZone,
    count_manual_hours,
    dated_grants,
    local_times,
    stored_zone,
    zone_of,
)
from kalitka_hub.store.models import Schedule, ScheduleWindow

_EXAMPLES = 3  # of each kind
Moved = int | str | list[str]  # what a change of the zone moves: a number, or in words


class _Example(NamedTuple):
    name: str
    local: str  # as written
    minute: int  # since 1970 UTC


class ZoneState(NamedTuple):
    """The site's zone and some of its times, before or after a change; see `describe_change`."""

    zone: SiteZone
    clocks: Zone
    counts: dict[str, int]
    manual_hours: int
    examples: list[_Example]


def state_of(session: Session, now: int) -> ZoneState:
    """Return the state at `now`, a minute since 1970 UTC."""
    zone = zone_of(session)
    examples = [*_hours(session, zone, now), *_dates(session, zone)]
    return ZoneState(
        stored_zone(session), zone, local_times(session), count_manual_hours(session), examples
    )


def describe_change(
    before: ZoneState, after: ZoneState, tokens: int, now: int
) -> Iterator[tuple[str, Moved]]:
    """Yield what a change of the zone moves: a name and its value, a text or a list of texts.

    tokens: the number of tokens whose rules change. now: a minute since 1970 UTC.
    """
    yield "zone until now", before.zone.in_words(now)
    yield "zone from now on", after.zone.in_words(now)
    yield "local times", _shift_in_words(_offset(before.clocks, now) - _offset(after.clocks, now))
    yield from after.counts.items()
    yield (
        "examples",
        [
            f"{was.name}: {was.local} is {_utc_text(is_now.minute)}, was {_utc_text(was.minute)}"
            for was, is_now in zip(before.examples, after.examples, strict=True)
            if was.minute != is_now.minute
        ],
    )
    yield "tokens with other rules", tokens
    if after.manual_hours:
        yield "manual rules with hours", f"{after.manual_hours}, which readers take as local time"


def _shift_in_words(minutes: int) -> str:
    if not minutes:
        return "stay where they are today"
    return f"come {clock_text(abs(minutes))} h {'later' if minutes > 0 else 'earlier'} from now on"


def _hours(session: Session, zone: Zone, now: int) -> Iterator[_Example]:
    day = now // 1440 * 1440  # the same date in both zones
    wanted = (
        select(Schedule.name, ScheduleWindow.start)
        .join(ScheduleWindow, ScheduleWindow.schedule_id == Schedule.id)
        .where(ScheduleWindow.start.is_not(None))
        .order_by(ScheduleWindow.id)
        .limit(_EXAMPLES)
    )
    for name, start in session.execute(wanted):
        at = first_minute_from(day + (start or 0), zone)
        yield _Example(f"schedule {name}", clock_text(start or 0), at)


def _dates(session: Session, zone: Zone) -> Iterator[_Example]:
    for grant, _ in zip(dated_grants(session), range(_EXAMPLES), strict=False):
        for edge, minute in (("from", grant.first_minute), ("until", grant.last_minute)):
            if minute is not None:
                local = local_text(minute, zone) or ""
                yield _Example(f"grant {grant.id} {edge}", local, minute)


def _offset(zone: Zone, minute: int) -> int:
    zone.update(minute)
    return zone.offset


def _utc_text(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%d %H:%M} UTC"
