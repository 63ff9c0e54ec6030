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

# Between two looks, of the timer and of the loop. The timer looks again and again, since a single
# look may be lost: the chip's queue of callbacks has eight places, which pulses may fill.
_LOOK_MS = const(50)
_PERIODIC = const(1)  # machine.Timer.PERIODIC
_GRACE_MS = const(
    1000
)  # `released` lasts so much longer: a door pulled in time may open a bit later


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

    async def run(self, watchdog) -> None:
        """Shut the lock whenever its time is over, for ever. watchdog: its `look` is called."""
        while True:
            over = time.ticks_diff(time.ticks_ms(), self._until)
            if self._armed:
                if over >= 0:
                    self.shut()
            elif self.released and over >= _GRACE_MS:
                self.released = False
            watchdog.look()
            await asyncio.sleep_ms(_LOOK_MS)
