"""Access rules: RULE1, RULE3, RULE7 and rule 9, as packed bytes, and their evaluation.

Source of the texts: the protocol's "Rules". A packed rule is one kind byte, then numbers as
varints (seven bits a byte, lowest first, high bit set on all but the last) and the week mask as
one byte; a rule set is packed rules one after the other, in byte order, each once.

    kind 1   FROM  TO-FROM                       minutes since 1970 UTC
    kind 3   START  END  MASK                    local day times; mask bit 0 is Monday
    kind 7   START  END  MASK  FROM  TO-FROM     both must hold
    kind 9   0 or 1                              never or always

`access.packing` packs texts; decisions do not need it.

Pure: integers and bytes in, integers and bytes out. `evaluate` allocates nothing on a port with
31-bit integers. `text_of` returns numbers as they were sent, without leading zeros.
"""

from micropython import const

DAY_MINUTES = const(1440)
MINUTE = const(60)  # seconds

# The results of `evaluate`. Of several denials the highest is reported: a lack in the reader
# itself (clock, zone), else the reason nearest to an open door. Do not renumber: stored in flash
# and sent to servers; `decision` has the words.
UNREADABLE = const(0)  # an unknown kind, or a day time out of range in the table's unit
NEVER = const(1)
NO_LONGER = const(2)
NOT_YET = const(3)
OUTSIDE_HOURS = const(4)
ZONE_NOT_SET = const(5)  # the minute is known, the local time is not
CLOCK_NOT_SET = const(6)
PERMITTED = const(7)

_INFINITE = const(0x3FFFFFFF)  # largest small int on ports with 31-bit small ints: year 4011


class RuleError(ValueError):
    """The text or packed form is not a valid rule; the message says what is wrong."""


def _read(buf, at):
    # Returns the varint at `at`, exact whatever its size, and the offset behind it. For texts: a
    # decision uses `number_at`, which allocates nothing.
    value = shift = 0
    while True:
        byte = buf[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def in_seconds(unit: str, seconds: bool) -> bool:
    """Return whether the day times of all rules of a table are seconds; else they are minutes.

    unit: the setting `day_time_unit`. seconds: whether a rule of the table, of any token, has a
    day time above DAY_MINUTES: one server has one unit.
    """
    return seconds if unit == "auto" else unit == "second"


def end_of(buf: bytes | bytearray, at: int) -> int:
    """Return the offset behind the packed rule at `at`. Raises RuleError for an unknown kind."""
    kind = buf[at]
    if kind == 9:
        return at + 2
    if kind not in (1, 3, 7):
        raise RuleError("unknown packed rule")
    at = skip_varint(buf, skip_varint(buf, at + 1))
    if kind == 1:
        return at
    at += 1
    return at if kind == 3 else skip_varint(buf, skip_varint(buf, at))


def skip_varint(buf: bytes | bytearray, at: int) -> int:
    """Return the offset behind the varint at `at`."""
    while buf[at] >= 0x80:
        at += 1
    return at + 1


def text_of(buf: bytes | bytearray, at: int = 0) -> bytes:
    """Return the text (bytes) of the packed rule at `at`. Raises RuleError for an unknown kind."""
    kind = buf[at]
    if kind == 9:
        return b"9_%d" % buf[at + 1]
    if kind not in (1, 3, 7):
        raise RuleError("unknown packed rule")
    out = b"%d" % kind
    at += 1
    if kind != 1:
        start, at = _read(buf, at)
        end, at = _read(buf, at)
        mask = b"".join(b"1" if buf[at] >> i & 1 else b"0" for i in range(7))
        out += b"_%d_%d_%s" % (start, end, mask)
        at += 1
    if kind != 3:
        first, at = _read(buf, at)
        span, at = _read(buf, at)
        out += b"_%d_%d" % (first, first + span)
    return out


def number_at(buf: bytes | bytearray, at: int) -> int:
    """Return the varint at `at` as a small integer; _INFINITE if it does not fit."""
    value = shift = 0
    while True:
        byte = buf[at]
        if shift < 28:
            value |= (byte & 0x7F) << shift
        elif byte & 0x7C:
            value = _INFINITE
        else:
            value |= (byte & 3) << shift
        if byte < 0x80:
            return value
        at += 1
        shift += 7


def _judge_dates(buf, at, minute):
    if minute < 0:
        return CLOCK_NOT_SET
    first = number_at(buf, at)
    if minute < first:
        return NOT_YET
    # A difference, not a sum: the sum of two small integers may not be small, and would allocate.
    return PERMITTED if minute - first <= number_at(buf, skip_varint(buf, at)) else NO_LONGER


def _judge_hours(buf, at, unit_seconds, day_minute, weekday):
    start = number_at(buf, at)
    at = skip_varint(buf, at)
    end = number_at(buf, at)
    mask = buf[skip_varint(buf, at)]
    over_midnight = start > end
    if unit_seconds:
        # The time window includes every minute that it touches.
        start //= MINUTE
        end //= MINUTE
    if start > DAY_MINUTES or end > DAY_MINUTES:
        return UNREADABLE
    if day_minute < 0:
        return ZONE_NOT_SET
    today = mask >> weekday & 1
    if over_midnight:
        # The mask names the day on which the time window starts.
        yesterday = mask >> (weekday + 6) % 7 & 1
        inside = (today and day_minute >= start) or (yesterday and day_minute <= end)
    else:
        inside = today and start <= day_minute <= end
    return PERMITTED if inside else OUTSIDE_HOURS


def evaluate(
    buf: bytes | bytearray, at: int, unit_seconds: bool, minute: int, day_minute: int, weekday: int
) -> int:
    """Evaluate the packed rule at `buf[at]` for a moment.

    unit_seconds: the table's day-time unit is the second, not the minute.
    minute: minutes since 1970 UTC, -1 while the clock is not set.
    day_minute: local minute of the day, 0 to 1439, -1 while it is not known.
    weekday: local, 0 is Monday.

    Returns PERMITTED or the reason of the denial. All bounds are inclusive. Both parts of a RULE7
    must hold at the moment itself: a time window over midnight ends with the last date, and is
    open from the first date on, even if it started the day before.
    """
    kind = buf[at]
    if kind == 9:
        return PERMITTED if buf[at + 1] else NEVER
    if kind == 1:
        return _judge_dates(buf, at + 1, minute)
    if kind not in (3, 7):
        return UNREADABLE
    hours = _judge_hours(buf, at + 1, unit_seconds, day_minute, weekday)
    if hours == UNREADABLE:
        return UNREADABLE
    if minute < 0:
        return CLOCK_NOT_SET
    if kind == 3:
        return hours
    # The dates of a RULE7 come first: outside them, its hours are of no use to the person.
    dates = _judge_dates(buf, _dates_at(buf, at), minute)
    return hours if dates == PERMITTED else dates


def _dates_at(buf, at):
    # Returns the offset of FROM in the RULE1 or RULE7 at `at`.
    return at + 1 if buf[at] == 1 else skip_varint(buf, skip_varint(buf, at + 1)) + 1


def date_of(buf: bytes | bytearray, at: int, reason: int) -> int:
    """Return the date (minute since 1970 UTC) behind the denial `reason` of the rule at `buf[at]`.

    The first of its dates for NOT_YET, the last for NO_LONGER, and 0 for any other reason. A first
    date in the year 4011 or later is 0x3FFFFFFF.
    """
    if reason != NOT_YET and reason != NO_LONGER:
        return 0
    at = _dates_at(buf, at)
    first = number_at(buf, at)
    # This sum stays a small integer: the last date of an expired rule lies in the past.
    return first if reason == NOT_YET else first + number_at(buf, skip_varint(buf, at))
