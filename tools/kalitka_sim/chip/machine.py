"""`machine` of the virtual chip: pins, the RTC, an I2C bus, resets."""

import os
import time

import state
import utime


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
        if mode == Pin.OUT:
            # Without a value a new output drives low, as on the chip.
            self._line.drive(1 if value else 0)

    def value(self, level=None):
        """Read the pin, or drive it."""
        if level is None:
            return self._line.level
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


def reset():
    """Restart the chip with its RTC running on: the world ends this process."""
    state.send({"reset": True})
    while True:
        utime.sleep(1)


soft_reset = reset


def unique_id():
    """Return the chip's identifier of six bytes."""
    return b"\x02\x00\x00\x00\x00\x01"
