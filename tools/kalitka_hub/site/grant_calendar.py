"""The grant calendar: grants, schedules and holidays, read once, as rules for groups of readers.

Valid for one local day and one session. If a date is a holiday both of a schedule and of all
schedules, the schedule's own counts. Nothing is written here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka_hub.site.schedule_rules import HORIZON_DAYS, Hours, Window, local_day, rule_texts
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store.models import Grant, Holiday, HolidayWindow, ScheduleWindow

_EPOCH = date(1970, 1, 1)
_YEAR = 366  # days; holidays farther away are in no rules, and are not read


class GrantRow(NamedTuple):
    """A row of `models.Grant`."""

    id: int
    person_group_id: int
    reader_group_id: int
    schedule_id: int
    first_minute: int | None
    last_minute: int | None


def day_of(text: str) -> int:
    """Return the local day (since 1970-01-01) of an ISO date."""
    return (date.fromisoformat(text) - _EPOCH).days


def date_of(day: int) -> str:
    """Return the ISO date of a local day."""
    return (_EPOCH + timedelta(days=day)).isoformat()


class GrantCalendar:
    """All grants, schedules and holidays of a site at `now`, minutes since 1970 UTC."""

    def __init__(self, session: Session, now: int) -> None:
        self.zone = zone_of(session)
        self.now = now
        self.today = local_day(self.zone, now)
        self._texts: dict[tuple[int, int], tuple[str, ...]] = {}
        self._grants: dict[int, list[GrantRow]] = defaultdict(list)
        for grant in _grants(session):
            self._grants[grant.person_group_id].append(grant)
        self._windows = _windows(session)
        self._exceptions = _exceptions(session, self.today, self._windows)

    def grants_of(self, person_groups: Collection[int]) -> Iterator[GrantRow]:
        """Yield the grants of these groups of people."""
        for group in person_groups:
            yield from self._grants.get(group, ())

    def texts(self, grant: GrantRow, days: int = HORIZON_DAYS) -> tuple[str, ...]:
        """Return the rule texts of a grant, with the holidays up to `days` ahead."""
        key = grant.id, days
        if key not in self._texts:
            self._texts[key] = rule_texts(
                self._windows[grant.schedule_id],
                self._exceptions[grant.schedule_id],
                grant.first_minute,
                grant.last_minute,
                self.zone,
                self.now,
                days,
            )
        return self._texts[key]

    def rules(self, person_groups: Collection[int], days: int) -> set[tuple[int, str]]:
        """Return the rules granted to these groups of people: (reader group id, rule text)."""
        return {
            (grant.reader_group_id, text)
            for grant in self.grants_of(person_groups)
            for text in self.texts(grant, days)
        }

    def holiday_hours(self, schedule_id: int, day: int) -> list[Hours] | None:
        """Return the hours that replace a schedule's on a day; None if it is not a holiday."""
        return self._exceptions[schedule_id].get(day)

    def horizons(self, person_groups: Collection[int]) -> list[int]:
        """Return the horizons (days ahead) that lead to different rules, the farthest first."""
        ahead = {
            day - self.today
            for grant in self.grants_of(person_groups)
            for day in self._exceptions[grant.schedule_id]
        }
        shorter = {days - 1 for days in ahead if 0 < days <= HORIZON_DAYS}
        return [HORIZON_DAYS, *sorted(shorter, reverse=True)]


def _grants(session: Session) -> Iterator[GrantRow]:
    columns = [getattr(Grant, name) for name in GrantRow._fields]
    for row in session.execute(select(*columns)):
        yield GrantRow(*row)


def _windows(session: Session) -> dict[int, list[Window]]:
    windows: dict[int, list[Window]] = defaultdict(list)
    for row in session.scalars(select(ScheduleWindow)):
        windows[row.schedule_id].append(
            Window(row.start, row.end, row.mask, row.first_minute, row.last_minute)
        )
    return windows


def _exceptions(
    session: Session, today: int, schedules: Collection[int]
) -> dict[int, dict[int, list[Hours]]]:
    """Return the replacing hours by schedule id and day."""
    near = Holiday.date.between(date_of(today - _YEAR), date_of(today + _YEAR))
    of_all: dict[int, list[Hours]] = {}
    own: dict[int, dict[int, list[Hours]]] = defaultdict(dict)
    for at, schedule_id, start, end in session.execute(
        select(Holiday.date, Holiday.schedule_id, HolidayWindow.start, HolidayWindow.end)
        .join(HolidayWindow, HolidayWindow.holiday_id == Holiday.id, isouter=True)
        .where(near)
    ):
        days = of_all if schedule_id is None else own[schedule_id]
        hours = days.setdefault(day_of(at), [])
        if start is not None:
            hours.append(Hours(start, end))
    exceptions: dict[int, dict[int, list[Hours]]] = defaultdict(dict)
    for schedule_id in schedules:
        exceptions[schedule_id] = of_all | own[schedule_id]
    return exceptions
