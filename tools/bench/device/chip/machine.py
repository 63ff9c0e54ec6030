"""`machine` of a chip without wires: a script calls the pins' handlers."""

import time

handlers = {}  # by pin


class Pin:
    """A pin."""

    IN = OUT = PULL_UP = IRQ_FALLING = IRQ_RISING = 1

    def __init__(self, number, mode=1, pull=None, value=1):
        self._number = number
        self._level = value

    def value(self, level=None):
        """Read the pin, or drive it."""
        if level is None:
            return self._level
        self._level = level
        return None

    def irq(self, handler=None, trigger=1):
        """Register the handler for the script."""
        handlers[self._number] = handler


class RTC:
    """The real-time clock."""

    def datetime(self, value):
        """Set the clock."""
        _, _, day, _, hour, minute, second, _ = value
        time.set_seconds(((day * 24 + hour) * 60 + minute) * 60 + second)


PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3


def reset():
    """Do nothing."""


def reset_cause():
    """Return the cause of a start with power."""
    return 1


class WDT:
    """The watchdog, which never bites."""

    def __init__(self, timeout):
        pass

    def feed(self):
        """Do nothing."""


class Timer:
    """A timer that never comes: the lock's task shuts the lock as well."""

    PERIODIC = 1

    def __init__(self, number):
        pass

    def init(self, mode, period, callback):
        """Do nothing."""

    def deinit(self):
        """Do nothing."""
