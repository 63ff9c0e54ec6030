"""The reader's clock: UTC and local time in minutes, or "not set".

Uses the chip's RTC, which survives a soft reset but not a power cut. Promises: the present moment
is three small integers, updated every second, so that a decision only reads them; a time before
this firmware's release is never accepted.
"""

import asyncio
import time

from machine import RTC

from kalitka import unload
from kalitka.access import timezone
from micropython import const

# The first minute (since 1970 UTC) of this release's month: an RTC with an earlier time is unset.
_EARLIEST = const(29891520)
# The first minute of 2100, beyond which the chip's calendar may not work.
_LATEST = const(68374080)
# The chip counts from 2000, other ports from 1970. In minutes, because seconds since 1970 do not
# fit a small int of 31 bits.
_EPOCH = 15778080 if time.gmtime(0)[0] == 2000 else 0


class Uptime:
    """The time since the object was created: `seconds`, and `millis` (0 to 999) beyond them.

    `update` brings both up to date. Updated at least every six days it is right for 34 years;
    milliseconds alone would exceed small integers after 12 days.
    """

    def __init__(self):
        self._last = time.ticks_ms()
        self.seconds = self.millis = 0

    def update(self) -> None:
        """Bring `seconds` and `millis` up to date."""
        now = time.ticks_ms()
        millis = self.millis + time.ticks_diff(now, self._last)
        self._last = now
        self.seconds += millis // 1000
        self.millis = millis % 1000


class Clock:
    """The clock, with the present moment in its attributes.

    uptime: an Uptime, which `run` updates, so that it never wraps.

    minute: since 1970 UTC, -1 while the clock is not set. day_minute: local, -1 while there is no
    local time. weekday: local, Monday is 0. zone: a timezone.Zone, or None. turned: set by
    `run`, for the watchdog.
    """

    def __init__(self, uptime):
        self._rtc = RTC()
        self._count = uptime
        self.zone = None
        self.minute = -1
        self.day_minute = -1
        self.weekday = 0
        self.turned = False
        self.tick()

    @property
    def is_set(self) -> bool:
        """Whether the clock is set."""
        return self.minute >= 0

    def uptime(self) -> int:
        """Return the seconds since the start, which setting the clock does not change."""
        self._count.update()
        return self._count.seconds

    def seconds(self) -> int:
        """Return the seconds since 1970 UTC; meaningful only if the clock is set."""
        return time.time() + _EPOCH * 60

    def step_to(self, seconds: int) -> int:
        """Return by how many seconds `set_utc(seconds)` would put the clock forward."""
        return seconds - self.seconds()

    def check(self, seconds: int) -> None:
        """Raise ValueError if `seconds` since 1970 UTC lie before this release's month or in 2100.

        Such a time is never right.
        """
        if seconds // 60 < _EARLIEST:
            raise ValueError("the time given lies before this firmware's build")
        if seconds // 60 >= _LATEST:
            raise ValueError("the time given lies beyond the year 2099")

    def set_utc(self, seconds: int) -> None:
        """Set the clock to `seconds` since 1970 UTC. Raises ValueError as `check` does."""
        self.check(seconds)
        year, month, day, hour, minute, second, weekday = time.gmtime(seconds - _EPOCH * 60)[:7]
        self._rtc.datetime((year, month, day, weekday, hour, minute, second, 0))
        self.tick()

    def set_zone(self, zone: str) -> None:
        """Set the zone, a POSIX TZ string. If it raises ZoneError the last valid zone stays."""
        try:
            self.zone = timezone.Zone(zone)
        finally:
            unload("access.zonetext")
        self.tick()

    def tick(self) -> None:
        """Bring the present moment up to date."""
        minute = time.time() // 60 + _EPOCH
        if minute < _EARLIEST:
            self.minute = self.day_minute = -1
            return
        self.minute = minute
        zone = self.zone
        if zone:
            zone.update(minute)
            self.day_minute = zone.day_minute
            self.weekday = zone.weekday

    def text(self) -> str:
        """Return the local time for a log line: `Mon 09:30 MSK-3`.

        With the offset if the zone's clocks show it twice.
        """
        if self.minute < 0:
            return "clock not set"
        if self.day_minute < 0 or not self.zone:
            return "zone not set"
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[self.weekday]
        return "%s %02d:%02d%s %s" % (
            day,
            self.day_minute // 60,
            self.day_minute % 60,
            timezone.offset_if_twice(self.minute, self.zone),
            self.zone.text,
        )

    async def run(self, callback) -> None:
        """Tick and then call `callback`, every second, for ever."""
        while True:
            self.tick()
            self._count.update()
            callback()
            self.turned = True
            await asyncio.sleep(1)


def save_zone(zone: str) -> None:
    """Save the zone (a POSIX TZ string) for the next start."""
    from kalitka.system import nvs

    nvs.save_zone(zone)
    unload("system.nvs")
