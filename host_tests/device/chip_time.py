"""The chip's `time` in virtual time: its ticks go round every 2^30, as on 32 bits.

`DAYS`: for how long the chip has been running when a case begins. A run of the cases sets it in
the environment: a reader is to be as right after a year as in its first minute.
"""

import asyncio
import os

from device.fake_time import millis

PERIOD = 1 << 30
DAYS = int(os.getenv("KALITKA_DAYS") or 0)
BEGAN = DAYS * 86400  # seconds of uptime at the start of a case


class Ticks:
    """In the place of the module `time`. began: milliseconds of uptime at the start of a case."""

    began = BEGAN * 1000

    def ticks_ms():
        """Return milliseconds."""
        return (Ticks.began + millis()) % PERIOD

    def ticks_us():
        """Return microseconds."""
        return (Ticks.began + millis()) * 1000 % PERIOD

    def ticks_add(ticks, delta):
        """Return their sum. Raises OverflowError, as the chip does, from 2^29 on."""
        assert type(ticks) is type(delta) is int and 0 <= ticks < PERIOD
        if not -PERIOD // 2 < delta < PERIOD // 2:
            raise OverflowError("ticks interval overflow")
        return (ticks + delta) % PERIOD

    def ticks_diff(end, start):
        """Return their difference; right if it is less than 2^29."""
        assert 0 <= end < PERIOD and 0 <= start < PERIOD
        return (end - start + PERIOD // 2) % PERIOD - PERIOD // 2


class Loop:
    """In the place of the module `asyncio`: what CPython's lacks, and the chip's bounds."""

    Event = asyncio.Event
    TimeoutError = asyncio.TimeoutError
    create_task = asyncio.create_task

    class ThreadSafeFlag:
        """One that waits in virtual time."""

        def __init__(self):
            self._event = asyncio.Event()

        def set(self):
            """Set it."""
            self._event.set()

        async def wait(self):
            """Wait for it and clear it."""
            await self._event.wait()
            self._event.clear()

    async def sleep_ms(ms):
        """Wait so many milliseconds (int)."""
        Ticks.ticks_add(0, ms)
        await asyncio.sleep(ms / 1000)

    async def sleep(seconds):
        """Wait so many seconds."""
        await Loop.sleep_ms(int(seconds * 1000))

    async def wait_for(awaitable, seconds):
        """Wait for it for so many seconds."""
        Ticks.ticks_add(0, int(seconds * 1000))
        return await asyncio.wait_for(awaitable, seconds)
