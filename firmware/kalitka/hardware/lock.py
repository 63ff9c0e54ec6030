"""The lock: one output that lets a person through for some seconds.

Fail-secure: the door is locked without power, and the output is on while it is open. Fail-safe:
the other way round. Promises: the output returns to its shut level when the time is over, as long
as the loop runs; the caller that ends the loop must call `shut`. The pin is handed in, created
with its shut level, so that the door does not open for a moment at the start.
"""

import asyncio
import time

from micropython import const

_GRACE_S = const(1)  # `released` lasts so much longer: a door pulled in time may open a bit later


class Lock:
    """The lock on `pin`, an output that was created with its shut level.

    level: the level (0 or 1) that opens the lock. seconds: for how long it stays open.
    released: whether the door may be opened now: the lock is open, or was until a second ago.
    """

    def __init__(self, pin, level: int, seconds: float):
        self._pin = pin
        self._open_level = level
        self._millis = int(seconds * 1000)
        self._until = 0
        self._opened = asyncio.Event()
        self.released = False

    def open(self) -> None:
        """Open now; if the lock is open already its time starts again."""
        # Nothing below allocates or waits: the lock cannot be open without an end.
        self._pin.value(self._open_level)
        # Counted from here, so that a busy chip never makes the time shorter, only longer.
        self._until = time.ticks_add(time.ticks_ms(), self._millis)
        self.released = True
        self._opened.set()

    def shut(self) -> None:
        """Shut now."""
        self._pin.value(1 - self._open_level)

    async def run(self) -> None:
        """Shut the lock whenever its time is over, for ever."""
        while True:
            await self._opened.wait()
            while True:
                left = time.ticks_diff(self._until, time.ticks_ms())
                if left <= 0:
                    break
                await asyncio.sleep_ms(left)
            self.shut()
            # Not before: if this task fails while the lock is open, the task that `app` starts a
            # second later shuts the lock.
            self._opened.clear()
            try:
                await asyncio.wait_for(self._opened.wait(), _GRACE_S)
            except asyncio.TimeoutError:
                self.released = False
