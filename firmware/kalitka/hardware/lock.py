"""The lock: one output that lets a person through for some seconds.

Fail-secure: the door is locked without power, the output is on while it is open. Fail-safe: the
other way round. Promises: the output is in its locked state from the first moment on, and goes
back to it whatever else happens in the loop.
"""

import asyncio
import time


class Lock:
    """The lock on `pin` (an output).

    seconds: how long it stays open. fail_safe: the lock is held shut by power.
    active_low: the relay board switches on with a low level.
    """

    def __init__(self, pin, seconds, fail_safe=False, active_low=False):
        self._pin = pin
        self._millis = int(seconds * 1000)
        self._open_level = 0 if fail_safe != active_low else 1
        self._until = 0
        self._opened = asyncio.Event()
        self._pin.value(1 - self._open_level)

    def open(self):
        """Open now; a second time while it is open begins the time anew."""
        self._until = time.ticks_add(time.ticks_ms(), self._millis)
        self._pin.value(self._open_level)
        self._opened.set()

    async def run(self):
        """Lock again when the time is over, for ever."""
        while True:
            try:
                await self._opened.wait()
                self._opened.clear()
                while True:
                    left = time.ticks_diff(self._until, time.ticks_ms())
                    if left <= 0:
                        break
                    await asyncio.sleep_ms(left)
            finally:
                # Also when this task is ended: a door is never left open.
                self._pin.value(1 - self._open_level)
