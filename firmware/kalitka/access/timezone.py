"""Local time from UTC minutes. A zone is a POSIX TZ string, such as `MSK-3`,
`EET-2EEST,M3.5.0/3,M10.5.0/4` or `<+0530>-5:30`.

POSIX.1-2024 with RFC 9636's times of up to 167 hours to either side. A name of daylight saving
time without rules has those of the USA, as in tzcode and glibc. Where seconds are given, local
time is rounded down to the minute. Pure, integers only; telling the time allocates nothing and
stays within 31 bits, up to the year 4000.
"""

from micropython import const

_DAY = const(1440)
_EPOCH_WEEKDAY = const(3)  # 1970-01-01 was a Thursday; Monday is 0
_OFFSET_HOURS = const(24)
_TIME_HOURS = const(167)  # a week less an hour: the time of a transition
_FOREVER = const(0x3FFFFFFF)
_USA = ",M3.2.0,M11.1.0\n"


class ZoneError(ValueError):
    """The zone is not understood; the message says where (position from 1) and why."""


class Zone:
    """A place's local time. `day_minute`, `weekday` (Monday is 0) and `offset` (minutes east of
    UTC) are those of the minute told last; `day_minute` is -1 before.

    text: a POSIX TZ string (str), kept as `text`. Raises ZoneError.
    """

    def __init__(self, text: str):
        self.text = text
        self.day_minute = -1
        self.weekday = 0
        text += "\n"  # stops every reading below, so that none looks for the end
        # POSIX counts west of Greenwich: MSK-3 is three hours ahead of UTC.
        west, at = _seconds(text, _name(text, 0), _OFFSET_HOURS)
        self.offset = self._standard = -west // 60
        # From when until when `offset` holds.
        self._since = -_FOREVER
        self._until = _FOREVER
        if text[at] != "\n":
            at = _name(text, at)
            daylight = west - 3600
            if text[at] not in ",\n":
                daylight, at = _seconds(text, at, _OFFSET_HOURS)
            self._daylight = -daylight // 60
            if at + 1 == len(text):
                text = _USA
                at = 0
            # Each rule's day time is that of the offset which it ends.
            self._start, at = _rule(text, _behind(text, at, ","), west)
            self._end, at = _rule(text, _behind(text, at, ","), daylight)
            self._since = self._until = 0
        if at + 1 < len(text):
            raise ZoneError("position %d: the zone should end here" % (at + 1))

    def tell(self, minute: int) -> None:
        """Set the attributes to local time at `minute` since 1970 UTC, in whatever order."""
        if not self._since <= minute < self._until:
            self._find_offset(minute)
        minute += self.offset
        self.day_minute = minute % _DAY
        self.weekday = (minute // _DAY + _EPOCH_WEEKDAY) % 7

    def _find_offset(self, minute):
        # Daylight saving time lasts from its start in a year to the first end behind that, of
        # this year or, south of the equator, of the next. An end that meets the next start ends
        # nothing: RFC 9636 writes daylight saving time for ever like this.
        year = minute // 525600 + 1971  # at least the next
        start = _transition(self._start, year)
        while start > minute:
            year -= 1
            start = _transition(self._start, year)
        next_start = _transition(self._start, year + 1)
        end = _transition(self._end, year)
        while end <= start:
            year += 1
            end = _transition(self._end, year)
        if minute < end:
            self.offset = self._daylight
            self._since = start
            self._until = end
        else:
            self.offset = self._standard
            self._since = end
            self._until = next_start


def _transition(rule, year):
    # The minute since 1970 UTC of a rule, as `_rule` returns it, in a year.
    years, day, weekday, minutes = rule
    year += years - 1
    day += year * 365 + year // 4 - year // 100 + year // 400 - 719162
    if weekday >= 0:
        day += (weekday - day + 3) % 7  # the next such day, or this one
    return day * _DAY + minutes


# Each of the following reads what stands at `text[at]` and returns the position behind it, if
# with a value, as the last of the two.


def _rule(text, at, west):
    # A rule is (years, days, weekday, minutes): so many days from the New Year of this year
    # (0) or the next (1), then on to the weekday (Sunday is 0, -1 for none), then so many
    # minutes to the first one in UTC that the new offset holds for. Days behind February are
    # counted back from the next New Year, so that no rule need know of leap years.
    years = 0
    weekday = -1
    if text[at] == "M":
        month, at = _number(text, at + 1, 1, 12, "month")
        week, at = _number(text, _behind(text, at, "."), 1, 5, "week")
        weekday, at = _number(text, _behind(text, at, "."), 0, 6, "weekday")
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
    return _behind(text, at, ">") if quoted else at


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


def _behind(text, at, mark):
    if text[at] != mark:
        raise ZoneError("position %d: %s expected" % (at + 1, mark))
    return at + 1
