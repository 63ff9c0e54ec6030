"""`machine` of the virtual chip: pins, the RTC, an I2C bus, timers, the watchdog, resets."""

import _thread
import asyncio
import os
import time

import state
import utime

import micropython

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_TIMER_MS = 5  # between two looks at the timers


class Pin:
    """A pin, as `machine.Pin`."""

    IN = 1
    OUT = 3
    PULL_UP = 2
    PULL_DOWN = 1
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, number, mode=IN, pull=None, value=None):
        if not 0 <= number <= 39 or (mode == Pin.OUT and number >= 34):
            raise ValueError("invalid pin")
        self._line = state.line(number)
        self._drives = mode == Pin.OUT
        if self._drives:
            # Without a value a new output drives low, as on the chip.
            self._line.drive(1 if value else 0)

    def value(self, level=None):
        """Read the pin, or drive it."""
        if level is None:
            return self._line.level
        if self._drives:  # an input only remembers the level
            self._line.drive(1 if level else 0)
        return None

    def irq(self, handler=None, trigger=IRQ_FALLING | IRQ_RISING):
        """Call `handler(pin)` at the edges in `trigger`."""
        self._line.pin = self
        self._line.handler = handler
        self._line.trigger = trigger


class RTC:
    """The real-time clock: unset after a power cut, kept over a reset."""

    def datetime(self, value=None):
        """Read or set (year, month, day, weekday, hour, minute, second, subsecond), UTC."""
        if value is None:
            t = time.gmtime()
            return t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0
        year, month, day, _, hour, minute, second, _ = value
        time.set_seconds(time.mktime((year, month, day, hour, minute, second, 0, 0)))
        return None


class I2C:
    """An I2C bus without a device."""

    def __init__(self, id, scl=None, sda=None, freq=400000):
        pass

    def readfrom_mem(self, address, register, n):
        """Raise OSError, as a bus without a device does."""
        raise OSError(19)

    writeto_mem = readfrom_mem


if os.getenv("KALITKA_CHIP_DS3231"):
    from i2c import I2C


class Timer:
    """A timer, as `machine.Timer`: it counts whatever Python does, its callback is scheduled.

    As on the chip the callback runs between two bytecodes, never while the chip is busy in C, and
    is lost if the queue of scheduled callbacks is full.
    """

    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id, **options):
        if not -1 <= id < 4:
            raise ValueError("invalid Timer number")
        self._due = 0
        if options:
            self.init(**options)

    def init(self, *, mode=PERIODIC, period=-1, callback=None, hard=False):
        """Call `callback(timer)` after `period` milliseconds, once or again and again."""
        if hard:
            raise ValueError("hard Timers are not implemented")
        if period <= 0:
            raise ValueError("period too small")
        self._mode = mode
        self._period = period
        self._callback = callback
        self._due = time.ticks_add(time.ticks_ms(), period)
        if self not in state.timers:
            state.timers.append(self)
            _start()

    def deinit(self):
        """Stop counting."""
        if self in state.timers:
            state.timers.remove(self)

    def _count(self):
        if time.ticks_diff(self._due, time.ticks_ms()) > 0:
            return
        if self._mode == Timer.ONE_SHOT:
            self.deinit()
        else:
            self._due = time.ticks_add(time.ticks_ms(), self._period)
        if self._callback:
            state.interrupt(self._callback, self)


_counts = False  # whether the thread runs
_turns = False  # whether asyncio's loop is kept turning


def _start():
    # Called with the first timer that counts.
    global _turns
    if not _turns:
        _turns = True
        asyncio.create_task(_turn())
    _start_thread()


def _start_thread():
    global _counts
    if not _counts:
        _counts = True
        _thread.start_new_thread(_count_timers, ())


async def _turn():
    # A chip's loop wakes up for a scheduled callback; this one would sleep until the next task.
    global _turns
    while state.timers:
        await asyncio.sleep_ms(_TIMER_MS)
    _turns = False


def _count_timers():
    # The chip's timers, in a thread of this process: it counts while Python hangs in a loop.
    global _counts
    while state.timers:
        utime.sleep_ms(_TIMER_MS)
        try:
            i = len(state.timers)
            while i:
                i -= 1
                state.timers[i]._count()
        except (MemoryError, IndexError):
            pass  # looks again: the heap is the firmware's, which may have used it up
        state.timer_looks += 1
    _counts = False
    if state.timers:  # one that was armed just now
        _start_thread()


class WDT:
    """The watchdog, as `machine.WDT`: it cannot be stopped, and a soft reset does not stop it.

    The world counts its time and resets the chip.
    """

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        state.send({"watchdog": timeout})

    def feed(self):
        """Start the time again."""
        state.send({"watchdog": 0})


def reset_cause():
    """Return why the chip started last, one of the constants `..._RESET`."""
    return int(os.getenv("KALITKA_CHIP_CAUSE") or PWRON_RESET)


def reset():
    """Restart the chip with its RTC running on: the world ends this process."""
    state.send({"reset": True})
    while True:
        utime.sleep(1)


def soft_reset():
    """Restart MicroPython only: the outputs keep their levels, the watchdog goes on."""
    raise SystemExit


def unique_id():
    """Return the chip's identifier of six bytes."""
    return b"\x02\x00\x00\x00\x00\x01"
