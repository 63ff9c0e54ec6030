"""`machine` of a chip whose wires end nowhere: a script pulls them."""

import time

handlers = {}  # by pin


class Pin:
    """A pin."""

    IN = OUT = PULL_UP = IRQ_FALLING = IRQ_RISING = 1

    def __init__(self, number, mode=1, pull=None, value=1):
        self._number = number
        self._level = value

    def value(self, level=None):
        """Read or drive it."""
        if level is None:
            return self._level
        self._level = level
        return None

    def irq(self, handler=None, trigger=1):
        """Keep the handler for whoever pulls the wire."""
        handlers[self._number] = handler


class RTC:
    """The clock."""

    def datetime(self, value):
        """Set it."""
        _, _, day, _, hour, minute, second, _ = value
        time.set_seconds(((day * 24 + hour) * 60 + minute) * 60 + second)
