"""`time` of the virtual chip: the epoch is 2000-01-01, as on the ESP32, and it starts there.

The clock is what was set since power came; it outlives a reset (in a file beside the flash) but
not a power cut, which empties that file. The ticks go round every 2^30, as where integers have 31
bits. While pulses come they go on by the pulses, however busy the computer is: `freeze`, `resume`.
"""

import os

import utime
from utime import sleep, sleep_ms, sleep_us, ticks_cpu

_EPOCH = 946684800  # 2000-01-01 in seconds since 1970
_PERIOD = 1 << 30

# Opened now: later the host's files are out of reach. Empty after a power cut.
_keep = open(os.getenv("KALITKA_CHIP_RTC"), "r+")
_kept = _keep.read().strip()

# What the chip's clock is ahead of the host's, in seconds.
_ahead = float(_kept) if _kept else _EPOCH - utime.time()
_passed = -utime.ticks_us()  # what its ticks are ahead of the host's, in microseconds
advanced = 0  # by hand, in seconds
_stopped = None  # the ticks that it stands at, in microseconds


def _micros():
    return utime.ticks_us() + _passed if _stopped is None else _stopped


def ticks_us():
    """Return microseconds."""
    return _micros() % _PERIOD


def ticks_ms():
    """Return milliseconds."""
    return _micros() // 1000 % _PERIOD


def ticks_add(ticks, delta):
    """Return their sum. Raises OverflowError, as the chip does, from 2^29 on."""
    if not -_PERIOD // 2 < delta < _PERIOD // 2:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) % _PERIOD


def ticks_diff(end, start):
    """Return their difference, which is right up to 2^29."""
    return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2


def freeze():
    """Let the ticks stand still until `resume`, but for what is passed by hand.

    Returns whether they did not before.
    """
    global _stopped
    was_running = _stopped is None
    _stopped = _micros()
    return was_running


def advance_ms(millis):
    """Move the ticks that stand still by so many milliseconds."""
    global _stopped
    _stopped += millis * 1000


def resume():
    """Let the ticks go on from where they stand."""
    global _passed, _stopped
    _passed = _stopped - utime.ticks_us()
    _stopped = None


def advance(seconds):
    """Let so many seconds (int) pass at once, for the clock as well."""
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
