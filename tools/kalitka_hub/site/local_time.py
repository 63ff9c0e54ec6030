"""Conversion between local times of the site, as people write them, and minutes since 1970 UTC.

A time is written `2026-11-01T08:00`, or with a space for the T. A time with an offset,
`2026-11-01T08:00+03:00` or `...Z`, needs no zone: `local_text` writes one where the site's clocks
show a local time twice.
"""

import re
from datetime import UTC, date, datetime, timedelta

from kalitka.access import rules
from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.schedule_rules import FOREVER, MAX_OFFSET

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOCK = re.compile(r"(\d\d):(\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_MINUTE = timedelta(minutes=1)
_LONGEST = 23 * 60  # minutes over midnight
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def minutes_of(text: str, zone: Zone) -> list[int]:
    """Return the minutes since 1970 UTC of this time, in order: one, or two if it occurs twice.

    Raises InvalidRequest for an invalid time, one that the clocks skip, and one before 1970 or
    after 2099.
    """
    if not _TIME.fullmatch(text):
        raise InvalidRequest(f"{text[:40]!r} is not a valid time: write it like 2026-11-01T08:00")
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise InvalidRequest(
            f"{text!r} is not a valid time: {fault}; write it like 2026-11-01T08:00"
        ) from fault
    if time.tzinfo:
        minutes = [(time.replace(tzinfo=None) - _EPOCH) // _MINUTE]
    else:
        local = (time - _EPOCH) // _MINUTE
        # The zone cannot compute times far beyond 2099; the check below refuses them.
        minutes = minutes_of_local(local, zone) if local < 2 * FOREVER else [local]
    if not minutes:
        raise InvalidRequest(
            f"there is no {text} in {zone.text}, because the clocks are put forward over it: "
            "write a time before or after"
        )
    if not 0 <= minutes[0] <= FOREVER:
        raise InvalidRequest(f"{text} lies before 1970 or after 2099: write a time between")
    return minutes


def first_minute_of(text: str | None, zone: Zone) -> int | None:
    """Return the minute (UTC) of a lower bound: the first of two. None stays None."""
    return None if text is None else minutes_of(text, zone)[0]


def last_minute_of(text: str | None, zone: Zone) -> int | None:
    """Return the minute (UTC) of an upper bound: the last of two. None stays None."""
    return None if text is None else minutes_of(text, zone)[-1]


def local_text(minute: int | None, zone: Zone) -> str | None:
    """Return a minute since 1970 UTC as local time, in written form. None stays None."""
    if minute is None:
        return None
    zone.update(minute)
    offset = zone.offset
    text = (_EPOCH + (minute + offset) * _MINUTE).isoformat(timespec="minutes")
    if len(minutes_of_local(minute + offset, zone)) == 1:
        return text
    return text + offset_text(offset)


def offset_text(offset: int) -> str:
    """Return an offset in minutes east of UTC as `+03:00`."""
    return f"{'-' if offset < 0 else '+'}{clock_text(abs(offset))}"


def minutes_of_local(local: int, zone: Zone) -> list[int]:
    """Return the minutes since 1970 UTC of this local minute: none, one or two.

    local: minutes since 1970-01-01T00:00 by the zone's clocks.
    """
    # In so short a time the clocks change at most once: no other offsets are possible.
    offsets = {_offset(local - MAX_OFFSET, zone), _offset(local + MAX_OFFSET, zone)}
    return sorted(local - offset for offset in offsets if _offset(local - offset, zone) == offset)


def first_minute_from(local: int, zone: Zone) -> int:
    """Return the first minute since 1970 UTC of this local minute; skipped: of the next one."""
    while not (minutes := minutes_of_local(local, zone)):
        local += 1
    return minutes[0]


def minute_of_day(text: str) -> int:
    """Return the minute of the day of a time such as `08:30`; `24:00` is the last minute, 1439.

    Raises InvalidRequest.
    """
    match = _CLOCK.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match else -1
    if not match or int(match[2]) > 59 or minute > rules.DAY_MINUTES:
        raise InvalidRequest(f"{text[:40]!r} is not a valid time of day: write it like 08:30")
    return min(minute, rules.DAY_MINUTES - 1)


def start_minute(text: str) -> int:
    """Return the minute of the day of the start of hours; otherwise as `minute_of_day`."""
    minute = minute_of_day(text)
    if text == "24:00":
        raise InvalidRequest(
            "24:00 is the end of a day and cannot be a start: write 00:00 with the same day for "
            "hours from its first minute on, 00:00 with the next day for hours after its last"
        )
    return minute


def check_hours(start: str, end: str) -> None:
    """Check that hours can mean only one thing; for hours that are new, not for stored ones.

    start, end: times of day, `08:30`. Raises InvalidRequest with both readings.
    """
    minutes = (minute_of_day(end) - minute_of_day(start)) % rules.DAY_MINUTES
    if start == end:
        raise InvalidRequest(
            f"{start}-{end} can mean all day, or closed: write 00:00-23:59 for all day; a closed "
            "day has no hours, so leave them out"
        )
    if start > end and minutes > _LONGEST:
        raise InvalidRequest(
            f"{start}-{end} runs over midnight for {minutes // 60} h {minutes % 60} min, which "
            f"can mean all day but a pause, or closed: write 00:00-{end} and {start}-23:59, each "
            "separately, for all day but the pause (00:00-23:59 for all day); a closed day has no "
            "hours, so leave them out"
        )


def clock_text(minute: int) -> str:
    """Return a minute of the day as `08:30`."""
    return f"{minute // 60:02}:{minute % 60:02}"


def checked_date(text: str) -> str:
    """Return a date such as `2026-12-31` if its year is 1970 to 2099. Raises InvalidRequest."""
    try:
        # Python also reads ISO week dates, but dates are stored and compared as text: one form.
        if not _DATE.fullmatch(text):
            raise InvalidRequest("it is not written as year, month and day")
        if not 1970 <= date.fromisoformat(text).year <= 2099:
            raise InvalidRequest("the year is not between 1970 and 2099")
    except ValueError as fault:
        raise InvalidRequest(
            f"{text[:40]!r} is not a valid date: {fault}; write it like 2026-12-31"
        ) from fault
    return text


def _offset(minute: int, zone: Zone) -> int:
    zone.update(minute)
    return zone.offset
