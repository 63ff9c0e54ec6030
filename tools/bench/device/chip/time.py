"""`time` of a chip in virtual time, which is the loop's. The epoch is 2000, as on the ESP32."""

import asyncio

_ahead = 0


def ticks_ms():
    """Return the loop's milliseconds."""
    return asyncio.now


def ticks_us():
    """Return the loop's microseconds, in steps of a millisecond."""
    return asyncio.now * 1000


def ticks_add(ticks, delta):
    """Return the sum; these ticks never wrap."""
    return ticks + delta


def ticks_diff(end, start):
    """Return the difference; these ticks never wrap."""
    return end - start


def time():
    """Return the seconds since 2000."""
    return _ahead + asyncio.now // 1000


def set_seconds(seconds):
    """Set the clock."""
    global _ahead
    _ahead = seconds - asyncio.now // 1000


def gmtime(seconds):
    """Return (year, month, day, hour, minute, second, weekday), in a calendar of a single month.

    `machine.RTC` turns it back into the same seconds.
    """
    return 2000, 1, seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60, 0
