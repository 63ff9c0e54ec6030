"""Local time from UTC minutes. A zone is a POSIX TZ string.

Today: a name and a fixed offset (`MSK-3`, `<+0530>-5:30`, `UTC0`); a string with daylight
saving time is refused, so that nobody is let in or kept out by an hour. Pure, integers only.
"""

from micropython import const

_DAY = const(1440)
_EPOCH_WEEKDAY = const(3)  # 1970-01-01 was a Thursday; Monday is 0
_HOURS_MAX = const(24)


class ZoneError(ValueError):
    """The zone is not understood; the message says where (position from 1) and why."""


def parse(text: str) -> int:
    """Return the offset in minutes east of UTC of a zone (str). Raises ZoneError."""
    at = _after_name(text)
    # POSIX counts west of Greenwich: MSK-3 is three hours ahead of UTC.
    sign = -1
    if text[at : at + 1] in ("+", "-"):
        sign = 1 if text[at] == "-" else -1
        at += 1
    hours, at = _digits(text, at, _HOURS_MAX, "hours")
    minutes = 0
    if text[at : at + 1] == ":":
        minutes, at = _digits(text, at + 1, 59, "minutes")
    if at < len(text):
        raise ZoneError("position %d: daylight saving time is not understood yet" % (at + 1))
    return sign * (hours * 60 + minutes)


def local(minute: int, offset: int) -> tuple[int, int]:
    """Return (minute of the day, weekday with Monday as 0) at `minute` since 1970 UTC."""
    minute += offset
    return minute % _DAY, (minute // _DAY + _EPOCH_WEEKDAY) % 7


def _after_name(text):
    quoted = text.startswith("<")
    at = start = 1 if quoted else 0
    while at < len(text) and (text[at].isalpha() or (quoted and text[at] in "+-0123456789")):
        at += 1
    if at - start < 3:
        raise ZoneError("position %d: a zone's name has three letters or more" % (at + 1))
    if quoted:
        if text[at : at + 1] != ">":
            raise ZoneError("position %d: no > behind the zone's name" % (at + 1))
        at += 1
    return at


def _digits(text, at, most, what):
    start = at
    while at < len(text) and at - start < 2 and text[at].isdigit():
        at += 1
    if at == start or int(text[start:at]) > most:
        raise ZoneError("position %d: %s expected, 0 to %d" % (start + 1, what, most))
    return int(text[start:at]), at
