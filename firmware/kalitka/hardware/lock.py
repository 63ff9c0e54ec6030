"""The lock: one output that lets a person through for some seconds.

Fail-secure: the door is locked without power, the output is on while it is open. Fail-safe: the
other way round. Promises: the output goes back to its shut level when its time is over and the
loop runs; whoever ends the loop calls `shut`. The pin is handed in, made with its shut level: so
the door does not open for a moment at the start.
"""

import asyncio
import time

from micropython import const

_GRACE_S = const(1)  # a door that is pulled at the last moment opens a little later


class Lock:
    """The lock on `pin`, an output that was made with its shut level.

    level: the level (0 or 1) that opens it. seconds: how long it stays open.
    released: whether a door that opens now may: it is open, or was until a moment ago.
    """

    def __init__(self, pin, level: int, seconds: float):
        self._pin = pin
        self._open_level = level
        self._millis = int(seconds * 1000)
        self._until = 0
        self._opened = asyncio.Event()
        self.released = False

    def open(self) -> None:
        """Open now; a second time while it is open begins the time anew."""
        self._pin.value(self._open_level)
        # Counted from here, so that however busy the chip is, nobody has less than that.
        self._until = time.ticks_add(time.ticks_ms(), self._millis)
        self.released = True
        self._opened.set()

    def shut(self) -> None:
        """Shut now."""
        self._pin.value(1 - self._open_level)

    async def run(self) -> None:
        """Shut again when the time is over, for ever."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            while True:
                left = time.ticks_diff(self._until, time.ticks_ms())
                if left <= 0:
                    break
                await asyncio.sleep_ms(left)
            self.shut()
            try:
                await asyncio.wait_for(self._opened.wait(), _GRACE_S)
            except asyncio.TimeoutError:
                self.released = False
