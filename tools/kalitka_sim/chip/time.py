"""`time` of the virtual chip: the clock starts at its epoch, 2000-01-01, as on the ESP32.

The clock is kept over a reset, in a file beside the flash, but not over a power cut, which empties
that file. The ticks wrap at 2^30, as on ports with 31-bit small ints. While pulses come, only the
pulses move the ticks, however busy the computer is: see `freeze` and `resume`.
"""

import os

import utime
from utime import sleep, sleep_ms, sleep_us, ticks_cpu

_EPOCH = 946684800  # 2000-01-01 in seconds since 1970
_PERIOD = 1 << 30

# Opened at import: later the host's files are out of reach. Empty after a power cut.
_keep = open(os.getenv("KALITKA_CHIP_RTC"), "r+")
_kept = _keep.read().strip()

# The chip's clock minus the host's, in seconds.
_ahead = float(_kept) if _kept else _EPOCH - utime.time()
_passed = -utime.ticks_us()  # the chip's ticks minus the host's, in microseconds
advanced = 0  # seconds that `advance` has skipped
_stopped = None  # the frozen ticks in microseconds, None while they run


def _micros():
    return utime.ticks_us() + _passed if _stopped is None else _stopped


def ticks_us():
    """Return the ticks in microseconds."""
    return _micros() % _PERIOD


def ticks_ms():
    """Return the ticks in milliseconds."""
    return _micros() // 1000 % _PERIOD


def ticks_add(ticks, delta):
    """Return `ticks + delta`. Raises OverflowError, as on the chip, for a delta from 2^29 on."""
    if not -_PERIOD // 2 < delta < _PERIOD // 2:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) % _PERIOD


def ticks_diff(end, start):
    """Return `end - start`, which is right for differences below 2^29."""
    return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2


def freeze():
    """Freeze the ticks until `resume`; only `advance_ms` and `advance` move them.

    Return whether they were running before.
    """
    global _stopped
    was_running = _stopped is None
    _stopped = _micros()
    return was_running


def advance_ms(millis):
    """Advance the frozen ticks by `millis`."""
    global _stopped
    _stopped += millis * 1000


def resume():
    """Let the frozen ticks run on from their value."""
    global _passed, _stopped
    _passed = _stopped - utime.ticks_us()
    _stopped = None


def advance(seconds):
    """Advance the ticks and the clock by `seconds` (int) at once."""
    global _passed, _ahead, advanced
    advanced += seconds
    _passed += seconds * 1000000
    if _stopped is not None:
        advance_ms(seconds * 1000)
    _ahead += seconds


def time():
    """Return the seconds since 2000, as an integer."""
    return int(utime.time() + _ahead) - _EPOCH


def gmtime(seconds=None):
    """Return (year, month, day, hour, minute, second, weekday, yearday)."""
    return utime.gmtime((time() if seconds is None else seconds) + _EPOCH)[:8]


localtime = gmtime


def mktime(parts):
    """Return the seconds since 2000 of (year, month, day, hour, minute, second, ...)."""
    # Independent of the host's zone: count from a day whose number is known.
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
