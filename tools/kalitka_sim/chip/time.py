"""`time` of the virtual chip: the epoch is 2000-01-01, as on the ESP32, and it starts there.

The clock is what was set since power came; it outlives a reset (in a file beside the flash) but
not a power cut, which empties that file.
"""

import os

import utime
from utime import (
    sleep,
    sleep_ms,
    sleep_us,
    ticks_add,
    ticks_cpu,
    ticks_diff,
    ticks_ms,
    ticks_us,
)

_EPOCH = 946684800  # 2000-01-01 in seconds since 1970

# Opened now: later the host's files are out of reach. Empty after a power cut.
_keep = open(os.getenv("KALITKA_CHIP_RTC"), "r+")
_kept = _keep.read().strip()

# What the chip's clock is ahead of the host's, in seconds.
_ahead = float(_kept) if _kept else _EPOCH - utime.time()


def time():
    """Return the seconds since 2000, as an integer."""
    return int(utime.time() + _ahead) - _EPOCH


def gmtime(seconds=None):
    """Return (year, month, day, hour, minute, second, weekday, yearday)."""
    return utime.gmtime((time() if seconds is None else seconds) + _EPOCH)[:8]


localtime = gmtime


def mktime(parts):
    """Return the seconds since 2000 of such a tuple."""
    # The host's zone must not matter: count from a day whose number is known.
    year, month, day, hour, minute, second = parts[:6]
    y = year - (month <= 2)
    days = 365 * y + y // 4 - y // 100 + y // 400
    days += (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1 - 730425
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def set_seconds(seconds):
    """Set the clock: seconds since 2000."""
    global _ahead
    _ahead = seconds + _EPOCH - utime.time()
    _keep.seek(0)
    _keep.write("%-24.3f" % _ahead)
    _keep.flush()


def set_utc(seconds):
    """Set the clock: seconds since 1970."""
    set_seconds(seconds - _EPOCH)
