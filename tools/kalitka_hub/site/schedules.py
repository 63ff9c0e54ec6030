"""Schedules, and the holidays on which they are closed or have other hours.

Times of day are local times of the site, `08:30`; both ends of a time window are inclusive, to the
minute. New hours that can mean two things are refused (`local_time.check_hours`); those that are
stored stay. Changes reach each reader with its next poll. Functions that write require a session
from `changes.write_transaction`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from sqlalchemy import delete, exists, insert, select
from sqlalchemy.orm import Session

from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import rule_compiler
from kalitka_hub.site.inputs import Filters, InputModel, Name, NameFilter, Note
from kalitka_hub.site.local_time import (
    check_hours,
    checked_date,
    clock_text,
    first_minute_of,
    last_minute_of,
    local_text,
    minute_of_day,
    start_minute,
)
from kalitka_hub.site.schedule_rules import Window
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import Grant, Holiday, HolidayWindow, Schedule, ScheduleWindow

SCHEDULES, HOLIDAYS = "schedules", "holidays"  # resource names, also kinds in the audit
# More than these would not fit in a reader's rules for one code.
WINDOWS_MAX = 50
HOURS_MAX = 10
EVERY_DAY = "1111111"
_Hours = tuple[str, str]  # times of day


def _checked_clock(text: str) -> str:
    return clock_text(minute_of_day(text))


def _checked_start(text: str) -> str:
    return clock_text(start_minute(text))


TimeOfDay = Annotated[str, AfterValidator(_checked_clock)]
StartOfDay = Annotated[str, AfterValidator(_checked_start)]
Days = Annotated[str, Field(pattern=r"^[01]{7}$")]
Date = Annotated[str, AfterValidator(checked_date)]


class WindowSetting(InputModel):
    """A time window: hours, dates, both, or neither (always).

    start, end: times of day; `18:00` to `06:00` runs over midnight. days: the days on which it
    begins, seven digits 0 or 1, Monday first; None for all. first, last: bounds as local times
    such as `2026-11-01T08:00`, inclusive; None is without a bound.
    """

    model_config = ConfigDict(frozen=True)

    start: StartOfDay | None = None
    end: TimeOfDay | None = None
    days: Days | None = None
    first: str | None = None
    last: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.start is None) != (self.end is None):
            raise InvalidRequest("a time window needs both start and end, or neither")
        if self.start is None and self.days is not None:
            raise InvalidRequest(
                "a time window with days needs start and end: 00:00 and 23:59 for all day"
            )
        return self


class ScheduleSetting(InputModel):
    """A schedule, as written and read. Windows are alternatives; without any it never opens."""

    name: Name
    note: Note | None = None
    windows: Annotated[list[WindowSetting], Field(max_length=WINDOWS_MAX)]


class HoursSetting(InputModel):
    """Hours of a holiday: times of day, inclusive; they may run over midnight."""

    model_config = ConfigDict(frozen=True)

    start: StartOfDay
    end: TimeOfDay


class HolidaySetting(InputModel):
    """A holiday as written. schedule: the name of its schedule, None for all schedules.

    hours: the hours that replace the schedule's on that date, whatever the weekday; without any
    the date is closed. A schedule's own holiday takes precedence over one of all schedules.
    """

    date: Date
    name: Name | None = None
    schedule: str | None = None
    hours: Annotated[list[HoursSetting], Field(default_factory=list, max_length=HOURS_MAX)]


class HolidayView(HolidaySetting):
    """A holiday as read."""

    id: int


class HolidayFilters(Filters):
    """The filters of `list_holidays`."""

    since: NameFilter = Field(None, description="First date, such as `2026-12-31`; inclusive.")
    until: NameFilter = Field(None, description="Last date, such as `2026-12-31`; inclusive.")
    schedule: NameFilter = Field(None, description="By the name of the schedule.")


# Schedules


def add_schedule(session: Session, setting: ScheduleSetting) -> None:
    """Add a schedule. Raises InvalidRequest if the name is taken or a window is invalid."""
    change_stamp(session)
    _check_hours(setting.windows)
    windows = _windows(setting.windows, zone_of(session))
    _check_free(session, setting.name)
    schedule = Schedule(name=setting.name, note=setting.note)
    session.add(schedule)
    session.flush()
    _add_windows(session, schedule.id, windows)
    after = find_schedule(session, setting.name).model_dump()
    audit.record(session, "add", SCHEDULES, setting.name, None, after)


def change_schedule(session: Session, name: str, setting: ScheduleSetting) -> bool:
    """Replace a schedule; return whether anything changed. Raises NotFound, InvalidRequest."""
    change_stamp(session)
    schedule = existing_schedule(session, name)
    view = find_schedule(session, name)
    before, zone = view.model_dump(), zone_of(session)
    _check_hours(setting.windows, _hours_of(view.windows))
    windows = _windows(setting.windows, zone)
    if setting.name != name:
        _check_free(session, setting.name)
    schedule.name, schedule.note = setting.name, setting.note
    if windows != _windows(view.windows, zone):
        of_it = ScheduleWindow.schedule_id == schedule.id
        session.execute(delete(ScheduleWindow).where(of_it))
        _add_windows(session, schedule.id, windows)
        _recompute(session, schedule.id)
    session.flush()
    after = find_schedule(session, setting.name).model_dump()
    if before == after:
        return False
    audit.record(session, "change", SCHEDULES, name, before, after)
    return True


def remove_schedule(session: Session, name: str) -> None:
    """Remove a schedule and its own holidays.

    Raises NotFound, and InvalidRequest while grants use the schedule.
    """
    change_stamp(session)
    schedule = existing_schedule(session, name)
    if session.scalar(select(exists().where(Grant.schedule_id == schedule.id))):
        raise InvalidRequest(f"the schedule {name} is in grants: remove these first")
    before = find_schedule(session, name).model_dump()
    session.delete(schedule)
    session.flush()
    audit.record(session, "remove", SCHEDULES, name, before, None)


def find_schedule(session: Session, name: str) -> ScheduleSetting:
    """Return a schedule. Raises NotFound."""
    return _schedules(session, [existing_schedule(session, name)])[0]


def list_schedules(session: Session, after: str = "", limit: int = 100) -> list[ScheduleSetting]:
    """Return schedules in name order: names after `after`, at most `limit`."""
    wanted = select(Schedule).where(Schedule.name > after).order_by(Schedule.name).limit(limit)
    return _schedules(session, session.scalars(wanted).all())


def normalize_windows(session: Session, windows: Sequence[WindowSetting]) -> list[WindowSetting]:
    """Return windows in the form and order in which a schedule shows them.

    Raises InvalidRequest for an invalid window.
    """
    _check_hours(windows, _stored_hours(session, ScheduleWindow))
    zone = zone_of(session)
    return [_window_setting(window, zone) for window in _windows(windows, zone)]


def existing_schedule(session: Session, name: str) -> Schedule:
    """Return the row of a schedule. Raises NotFound."""
    wanted = select(Schedule).where(Schedule.name == name)
    schedule = session.scalars(wanted).one_or_none()
    if schedule is None:
        raise NotFound(f"there is no schedule {name!r}: add it first")
    return schedule


# Holidays


def add_holiday(session: Session, setting: HolidaySetting) -> int:
    """Add a holiday; return its id.

    Raises NotFound for an unknown schedule, and InvalidRequest if the date is taken.
    """
    change_stamp(session)
    _check_hours(setting.hours)
    schedule_id = _schedule_id(session, setting)
    _check_free_date(session, setting.date, schedule_id, None)
    holiday = Holiday(date=setting.date, name=setting.name, schedule_id=schedule_id)
    session.add(holiday)
    session.flush()
    _add_hours(session, holiday.id, setting)
    _recompute_near(session, [setting.date], schedule_id)
    audit.record(session, "add", HOLIDAYS, str(holiday.id), None, setting.model_dump())
    return holiday.id


def change_holiday(session: Session, holiday_id: int, setting: HolidaySetting) -> bool:
    """Replace a holiday; return whether anything changed. Raises NotFound, InvalidRequest."""
    change_stamp(session)
    holiday = _existing_holiday(session, holiday_id)
    before, after = _audit_fields(session, holiday), setting.model_dump()
    if before == after:
        return False
    _check_hours(setting.hours, _hours_of(_holidays(session, [holiday])[0].hours))
    schedule_id = _schedule_id(session, setting)
    _check_free_date(session, setting.date, schedule_id, holiday_id)
    concerned = {holiday.schedule_id, schedule_id}
    dates = [holiday.date, setting.date]
    holiday.date, holiday.name, holiday.schedule_id = setting.date, setting.name, schedule_id
    session.execute(delete(HolidayWindow).where(HolidayWindow.holiday_id == holiday_id))
    _add_hours(session, holiday_id, setting)
    for concerned_id in {None} if None in concerned else concerned:
        _recompute_near(session, dates, concerned_id)
    audit.record(session, "change", HOLIDAYS, str(holiday_id), before, after)
    return True


def remove_holiday(session: Session, holiday_id: int) -> None:
    """Remove a holiday, which makes its date an ordinary one. Raises NotFound."""
    change_stamp(session)
    holiday = _existing_holiday(session, holiday_id)
    before, schedule_id = _audit_fields(session, holiday), holiday.schedule_id
    session.delete(holiday)
    session.flush()
    _recompute_near(session, [holiday.date], schedule_id)
    audit.record(session, "remove", HOLIDAYS, str(holiday_id), before, None)


def find_holiday(session: Session, holiday_id: int) -> HolidayView:
    """Return a holiday. Raises NotFound."""
    return _holidays(session, [_existing_holiday(session, holiday_id)])[0]


def list_holidays(
    session: Session,
    after: int = 0,
    limit: int = 100,
    *,
    since: str | None = None,
    until: str | None = None,
    schedule: str | None = None,
) -> list[HolidayView]:
    """Return holidays in id order: ids above `after`, at most `limit`.

    since, until: ISO dates, both inclusive. schedule: only the own holidays of this schedule.
    """
    wanted = select(Holiday).where(Holiday.id > after).order_by(Holiday.id).limit(limit)
    if since is not None:
        wanted = wanted.where(Holiday.date >= checked_date(since))
    if until is not None:
        wanted = wanted.where(Holiday.date <= checked_date(until))
    if schedule is not None:
        wanted = wanted.where(Holiday.schedule_id == existing_schedule(session, schedule).id)
    return _holidays(session, session.scalars(wanted).all())


def normalize_hours(session: Session, hours: Sequence[HoursSetting]) -> list[HoursSetting]:
    """Return hours of a holiday as they are. Raises InvalidRequest for ambiguous new ones."""
    _check_hours(hours, _stored_hours(session, HolidayWindow))
    return list(hours)


# Implementation


def _hours_of(settings: Iterable[WindowSetting | HoursSetting]) -> set[_Hours]:
    return {(one.start, one.end) for one in settings if one.start and one.end}


def _stored_hours(session: Session, of: type[ScheduleWindow] | type[HolidayWindow]) -> set[_Hours]:
    found = session.execute(select(of.start, of.end).distinct())
    return {
        (clock_text(start), clock_text(end))
        for start, end in found
        if start is not None and end is not None
    }


def _check_hours(
    settings: Iterable[WindowSetting | HoursSetting], known: Set[_Hours] = frozenset()
) -> None:
    for start, end in sorted(_hours_of(settings) - known):
        check_hours(start, end)


def _recompute_near(session: Session, dates: Sequence[str], schedule_id: int | None) -> None:
    # A far holiday is in no rules yet: `refresh_horizon` adds it when it comes near.
    if any(rule_compiler.is_near_holiday(session, date) for date in dates):
        _recompute(session, schedule_id)


def _recompute(session: Session, schedule_id: int | None) -> None:
    # None: every schedule.
    conditions = [] if schedule_id is None else [Grant.schedule_id == schedule_id]
    session.flush()
    rule_compiler.recompute(session, rule_compiler.tokens_with_grants(session, *conditions))


def _windows(settings: Sequence[WindowSetting], zone: Zone) -> list[Window]:
    return sorted({_window(setting, zone) for setting in settings}, key=_order)


def _order(window: Window) -> list[tuple[bool, object]]:
    return [(field is not None, field) for field in window]


def _window(setting: WindowSetting, zone: Zone) -> Window:
    window = Window(
        first=first_minute_of(setting.first, zone), last=last_minute_of(setting.last, zone)
    )
    if window.first is not None and window.last is not None and window.first > window.last:
        raise InvalidRequest(
            f"a time window from {setting.first} to {setting.last} never opens: swap the two times"
        )
    if setting.start is None or setting.end is None:
        return window
    days = setting.days or EVERY_DAY
    start, end = minute_of_day(setting.start), minute_of_day(setting.end)
    return window._replace(start=start, end=end, mask=days)


def _window_setting(window: Window, zone: Zone) -> WindowSetting:
    return WindowSetting(
        start=None if window.start is None else clock_text(window.start),
        end=None if window.end is None else clock_text(window.end),
        days=window.mask,
        first=local_text(window.first, zone),
        last=local_text(window.last, zone),
    )


def _add_windows(session: Session, schedule_id: int, windows: Sequence[Window]) -> None:
    rows = [
        {
            "schedule_id": schedule_id,
            "start": window.start,
            "end": window.end,
            "mask": window.mask,
            "first_minute": window.first,
            "last_minute": window.last,
        }
        for window in windows
    ]
    if rows:
        session.execute(insert(ScheduleWindow), rows)


def _schedules(session: Session, schedules: Sequence[Schedule]) -> list[ScheduleSetting]:
    zone = zone_of(session)
    windows: dict[int, list[WindowSetting]] = defaultdict(list)
    for row in session.scalars(
        select(ScheduleWindow)
        .where(ScheduleWindow.schedule_id.in_([schedule.id for schedule in schedules]))
        .order_by(ScheduleWindow.id)
    ):
        window = Window(row.start, row.end, row.mask, row.first_minute, row.last_minute)
        windows[row.schedule_id].append(_window_setting(window, zone))
    return [
        ScheduleSetting.model_construct(
            name=schedule.name, note=schedule.note, windows=windows[schedule.id]
        )
        for schedule in schedules
    ]


def _check_free(session: Session, name: str) -> None:
    if session.scalar(select(exists().where(Schedule.name == name))):
        raise InvalidRequest(f"there is a schedule {name!r} already: choose another name")


def _schedule_id(session: Session, setting: HolidaySetting) -> int | None:
    return None if setting.schedule is None else existing_schedule(session, setting.schedule).id


def _check_free_date(
    session: Session, date: str, schedule_id: int | None, but: int | None
) -> None:
    # NULLs are never equal, so the unique constraint does not cover holidays of all schedules.
    same = select(Holiday.id).where(Holiday.date == date)
    if schedule_id is None:
        same = same.where(Holiday.schedule_id.is_(None))
    else:
        same = same.where(Holiday.schedule_id == schedule_id)
    taken = session.scalars(same).one_or_none()
    if taken is not None and taken != but:
        raise InvalidRequest(f"{date} is a holiday already, number {taken}: change that one")


def _add_hours(session: Session, holiday_id: int, setting: HolidaySetting) -> None:
    rows = [
        {
            "holiday_id": holiday_id,
            "start": minute_of_day(hours.start),
            "end": minute_of_day(hours.end),
        }
        for hours in setting.hours
    ]
    if rows:
        session.execute(insert(HolidayWindow), rows)


def _existing_holiday(session: Session, holiday_id: int) -> Holiday:
    holiday = session.get(Holiday, holiday_id)
    if holiday is None:
        raise NotFound(f"there is no holiday {holiday_id}: look for the number in the list")
    return holiday


def _audit_fields(session: Session, holiday: Holiday) -> dict[str, object]:
    return _holidays(session, [holiday])[0].model_dump(exclude={"id"})


def _holidays(session: Session, holidays: Sequence[Holiday]) -> list[HolidayView]:
    hours: dict[int, list[HoursSetting]] = defaultdict(list)
    for row in session.scalars(
        select(HolidayWindow)
        .where(HolidayWindow.holiday_id.in_([holiday.id for holiday in holidays]))
        .order_by(HolidayWindow.id)
    ):
        hours[row.holiday_id].append(
            HoursSetting(start=clock_text(row.start), end=clock_text(row.end))
        )
    ids = [holiday.schedule_id for holiday in holidays]
    names: dict[int | None, str] = {
        row.id: row.name
        for row in session.execute(select(Schedule.id, Schedule.name).where(Schedule.id.in_(ids)))
    }
    return [
        HolidayView.model_construct(
            id=holiday.id,
            date=holiday.date,
            name=holiday.name,
            schedule=names.get(holiday.schedule_id),
            hours=hours[holiday.id],
        )
        for holiday in holidays
    ]
