"""`time` of a chip in virtual time: that of the loop. Its epoch is 2000, as on the ESP32."""

import asyncio

_ahead = 0


def ticks_ms():
    """Return the milliseconds of the loop."""
    return asyncio.now


def ticks_us():
    """Return the microseconds of the loop, which turns at whole milliseconds."""
    return asyncio.now * 1000


def ticks_add(ticks, delta):
    """Return their sum."""
    return ticks + delta


def ticks_diff(end, start):
    """Return their difference."""
    return end - start


def time():
    """Return the seconds since 2000."""
    return _ahead + asyncio.now // 1000


def set_seconds(seconds):
    """Set the clock."""
    global _ahead
    _ahead = seconds - asyncio.now // 1000


def gmtime(seconds):
    """Return (year, month, day, hour, minute, second, weekday), in a calendar of one month: what
    `machine.RTC` makes of it is the same moment again.
    """
    return 2000, 1, seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60, 0
