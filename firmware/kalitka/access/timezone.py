"""Local time from UTC minutes, in a zone given as a POSIX TZ string.

Examples: `MSK-3`, `EET-2EEST,M3.5.0/3,M10.5.0/4`, `<+0530>-5:30`. POSIX.1-2024 with RFC 9636's
transition times of up to 167 hours to either side. Daylight saving time without rules has those
of the USA, as in tzcode and glibc. If the zone has seconds, local time is rounded down to the
minute. Pure, integers only; `update` allocates nothing and stays within 31 bits, up to the year
4000.
"""

from micropython import const

_DAY = const(1440)
_EPOCH_WEEKDAY = const(3)  # 1970-01-01 was a Thursday; Monday is 0
_FOREVER = const(0x3FFFFFFF)


class ZoneError(ValueError):
    """The text is not a valid zone; the message says where (position from 1) and why."""


class Zone:
    """The local time of a zone, as of the last `update`.

    text: a POSIX TZ string (str), kept as `text`. Raises ZoneError.

    day_minute: the minute of the day, -1 before the first `update`. weekday: Monday is 0.
    offset: minutes east of UTC.
    """

    def __init__(self, text: str):
        # Imported here: only a new zone needs the parser's memory.
        from kalitka.access.zonetext import parse

        self.text = text
        self.day_minute = -1
        self.weekday = 0
        self._standard, self._daylight, self._start, self._end = parse(text)
        self.offset = self._standard
        # `offset` holds from `_since` (inclusive) to `_until` (exclusive), minutes since 1970 UTC.
        self._since = self._until = 0
        if not self._start:
            self._since = -_FOREVER
            self._until = _FOREVER

    def update(self, minute: int) -> None:
        """Set the attributes to local time at `minute` since 1970 UTC; it may go back."""
        if not self._since <= minute < self._until:
            self._find_offset(minute)
        minute += self.offset
        self.day_minute = minute % _DAY
        self.weekday = (minute // _DAY + _EPOCH_WEEKDAY) % 7

    def _find_offset(self, minute):
        # Daylight saving time lasts from its start in a year to the next end: of the same year or,
        # south of the equator, of the next. An end that coincides with the next start has no
        # effect: in RFC 9636 this means permanent daylight saving time.
        year = minute // 525600 + 1971  # the next year or a later one
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


def offset_if_twice(minute: int, zone: Zone) -> str:
    """Return a zone's offset at a minute if its clocks show that local time twice, else "".

    Such as `+02:00`. Leaves the zone updated to the minute. For displays: it allocates.
    """
    zone.update(minute)
    offset = zone.offset
    twice = False
    # The clocks change at most once in so short a time: no other offsets are possible.
    for at in (minute - _DAY, minute + _DAY):
        zone.update(at)
        other = zone.offset
        zone.update(minute + offset - other)
        twice = twice or (other != offset and zone.offset == other)
    zone.update(minute)
    if not twice:
        return ""
    return "%s%02d:%02d" % ("-" if offset < 0 else "+", abs(offset) // 60, abs(offset) % 60)


def _transition(rule, year):
    # Returns the minute since 1970 UTC of a transition rule (see `zonetext.parse`) in a year.
    years, day, weekday, minutes = rule
    year += years - 1
    day += year * 365 + year // 4 - year // 100 + year // 400 - 719162
    if weekday >= 0:
        day += (weekday - day + 3) % 7  # the next such day, or this one
    return day * _DAY + minutes
