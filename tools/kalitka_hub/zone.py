"""The site's time zone as the readers get it: a POSIX TZ string such as `MSK-3`.

Checked only as far as a reader would stumble at once; the full grammar belongs to the reader
(`kalitka.access.timezone`). POSIX counts west of Greenwich as positive: `MSK-3` is UTC+3.
"""

import re

from .faults import Refused

_ZONE = re.compile(
    r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
    r"(?P<sign>[+-]?)(?P<hours>\d{1,2})(?::\d{2}){0,2}"
    r"[\x21-\x7e]*"  # the rules of daylight saving time, if any
)


def check_zone(zone: str) -> str:
    """Return `zone` if it can be a POSIX TZ string. Raises Refused."""
    if not _ZONE.fullmatch(zone):
        raise Refused(
            f"{zone!r} is no POSIX time zone: write name and offset, such as UTC0, MSK-3 or "
            "EET-2EEST,M3.5.0/3,M10.5.0/4"
        )
    return zone


def whole_hours(zone: str) -> int:
    """Return the standard offset of a checked zone: hours east of UTC, truncated towards 0."""
    match = _ZONE.fullmatch(zone)
    if not match:
        raise ValueError("whole_hours wants a zone that check_zone has passed")
    hours = int(match["hours"])
    return hours if match["sign"] == "-" else -hours
