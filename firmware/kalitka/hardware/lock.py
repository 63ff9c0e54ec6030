"""The lock: one output that lets a person through for some seconds.

Fail-secure: the door is locked without power, and the output is on while it is open. Fail-safe:
the other way round. Promises: the output returns to its shut level within 60 ms after the time is
over, also while Python's loop hangs in bytecode: a hardware timer shuts it. While the chip is busy
in C (a TLS handshake) or in native code it is shut as soon as that is done. The pin is handed in,
created with its shut level, so that the door does not open for a moment at the start.
"""

import asyncio
import time

from micropython import const

# Between two looks of the timer. It looks again and again, since a single look may be lost: the
# chip's queue of callbacks has eight places, which the scanner's pulses may fill.
_LOOK_MS = const(50)
_PERIODIC = const(1)  # machine.Timer.PERIODIC
_GRACE_S = const(1)  # `released` lasts so much longer: a door pulled in time may open a bit later


class Lock:
    """The lock on `pin`, an output that was created with its shut level.

    level: the level (0 or 1) that opens the lock. seconds: for how long it stays open. timer: a
    `machine.Timer` of its own.
    released: whether the door may be opened now: the lock is open, or was until a second ago.
    """

    def __init__(self, pin, level: int, seconds: float, timer):
        self._pin = pin
        self._open_level = level
        self._millis = int(seconds * 1000)
        self._until = 0
        self._timer = timer
        self._armed = False
        self._look = self._shut_when_due  # made once: a bound method is allocated
        self._opened = asyncio.Event()
        self.released = False

    def open(self) -> None:
        """Open now; if the lock is open already its time starts again."""
        self._begin()
        # Before the pin: from now on the lock cannot stay open, whatever happens below or to the
        # loop. The port takes some bytes of the chip's memory for it; without them it raises, or
        # restarts the chip (up to MicroPython 1.28): the door stays shut.
        self._armed = True
        self._timer.init(mode=_PERIODIC, period=_LOOK_MS, callback=self._look)
        self._pin.value(self._open_level)
        # Again, so that a busy chip makes the time never shorter, only longer.
        self._begin()
        self.released = True
        self._opened.set()

    def _begin(self):
        self._until = time.ticks_add(time.ticks_ms(), self._millis)

    def shut(self) -> None:
        """Shut now."""
        self._pin.value(1 - self._open_level)
        if self._armed:
            self._armed = False
            self._timer.deinit()

    def _shut_when_due(self, _):
        # The timer's callback: runs between any two bytecodes, also of `open`. So it only drives
        # the pin: a timer that it stopped would be missing when `open` goes on.
        if time.ticks_diff(self._until, time.ticks_ms()) <= 0:
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
            opened = False
            try:
                await asyncio.wait_for(self._opened.wait(), _GRACE_S)
                opened = True
            except asyncio.TimeoutError:
                pass
            finally:  # whatever happens: else a forced door would not be reported
                self.released = opened
