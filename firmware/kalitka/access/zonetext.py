"""The parser of POSIX TZ strings, for `access.timezone`, which computes local time.

Loaded for a new zone, and unloaded afterwards.
"""

from kalitka.access.timezone import ZoneError
from micropython import const

_OFFSET_HOURS = const(24)
_TIME_HOURS = const(167)  # a week less an hour: the time of a transition
_USA = const(",M3.2.0,M11.1.0\n")


def parse(text: str) -> tuple:
    """Return (standard, daylight, start, end) of a POSIX TZ string. Raises ZoneError.

    standard, daylight: minutes east of UTC. start, end: rules of daylight saving time, each
    (years, days, weekday, minutes) as below; None and None without one.
    """
    text += "\n"  # stops every loop below: none has to check for the end of the text
    # POSIX counts west of Greenwich: MSK-3 is three hours ahead of UTC.
    west, at = _seconds(text, _name(text, 0), _OFFSET_HOURS)
    daylight = west - 3600
    start = end = None
    if text[at] != "\n":
        at = _name(text, at)
        if text[at] not in ",\n":
            daylight, at = _seconds(text, at, _OFFSET_HOURS)
        if at + 1 == len(text):
            text = _USA
            at = 0
        # The time of each rule is in the local time that it ends.
        start, at = _rule(text, _expect(text, at, ","), west)
        end, at = _rule(text, _expect(text, at, ","), daylight)
    if at + 1 < len(text):
        raise ZoneError("position %d: the zone should end here" % (at + 1))
    return -west // 60, -daylight // 60, start, end


# Each function below parses the item at `text[at]` and returns the offset behind it; with a value,
# it returns (value, offset).


def _rule(text, at, west):
    # A rule is (years, days, weekday, minutes): start at New Year of this year (0) or the next
    # (1), add the days, go on to the weekday (Sunday is 0, -1 for none), add the minutes. The
    # result is the first minute in UTC of the new offset. Days after February are counted back
    # from the next New Year, so that leap years need no special case.
    years = 0
    weekday = -1
    if text[at] == "M":
        month, at = _number(text, at + 1, 1, 12, "month")
        week, at = _number(text, _expect(text, at, "."), 1, 5, "week")
        weekday, at = _number(text, _expect(text, at, "."), 0, 6, "weekday")
        if week == 5:  # the last of the month
            month += 1
            week = 0
        days = (367 * month - 362) // 12 + 7 * week - 7  # as if February had 30 days
        if month > 2:
            years = 1
            days -= 367
    elif text[at] == "J":
        days, at = _number(text, at + 1, 1, 365, "day")
        days -= 1
        if days > 58:  # from 1 March on
            years = 1
            days -= 365
    else:
        days, at = _number(text, at, 0, 365, "Mm.w.d, Jn or a day")
    seconds = 7200
    if text[at] == "/":
        seconds, at = _seconds(text, at + 1, _TIME_HOURS)
    return (years, days, weekday, (seconds + west + 59) // 60), at


def _name(text, at):
    quoted = text[at] == "<"
    if quoted:
        at += 1
    start = at
    while (text[at].isalpha() and text[at] < "\x80") or (quoted and text[at] in "+-0123456789"):
        at += 1
    if at - start < 3:
        raise ZoneError("position %d: a zone's name has three letters or more" % (at + 1))
    return _expect(text, at, ">") if quoted else at


def _seconds(text, at, most):
    # [+-]hours[:minutes[:seconds]]
    sign = -1 if text[at] == "-" else 1
    if text[at] in "+-":
        at += 1
    total, at = _number(text, at, 0, most, "hours")
    total *= 3600
    for unit in (60, 1):
        if text[at] != ":":
            break
        number, at = _number(text, at + 1, 0, 59, "minutes" if unit > 1 else "seconds")
        total += number * unit
    return sign * total, at


def _number(text, at, least, most, what):
    start = at
    number = 0
    while "0" <= text[at] <= "9" and number <= most:
        number = number * 10 + int(text[at])
        at += 1
    if at == start or not least <= number <= most:
        raise ZoneError("position %d: %s expected, %d to %d" % (start + 1, what, least, most))
    return number, at


def _expect(text, at, mark):
    if text[at] != mark:
        raise ZoneError("position %d: %s expected" % (at + 1, mark))
    return at + 1
