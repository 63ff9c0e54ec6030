"""A switch on one pin: exit button, door contact, alarm contact.

Normally open or normally closed, between the pin (an input with pull-up) and ground. Promises: a
change is reported only once it is steady; the interrupt handler allocates nothing.
"""

import asyncio

from micropython import const

_STEADY_MS = const(30)  # contacts bounce for 5 to 20 ms


class Contact:
    """A debounced switch at `pin`.

    normally_closed: whether the switch is closed at rest, with the button not pressed, the door
    shut or the alarm off. active: whether the switch is in its other state.
    """

    def __init__(self, pin, normally_closed: bool):
        self._pin = pin
        self._active_level = 1 if normally_closed else 0
        self._flag = asyncio.ThreadSafeFlag()
        self.active = pin.value() == self._active_level
        pin.irq(handler=self._edge, trigger=pin.IRQ_FALLING | pin.IRQ_RISING)

    async def change(self) -> bool:
        """Wait until the switch is steady in the other state; return whether that is active.

        May be cancelled: the next call then reports the change.
        """
        while True:
            # An edge behind this line sets the flag, so the wait below cannot miss the edge.
            level = self._pin.value()
            if (level == self._active_level) == self.active:
                await self._flag.wait()
                continue
            await asyncio.sleep_ms(_STEADY_MS)
            if self._pin.value() == level:
                self.active = not self.active
                return self.active

    def _edge(self, _pin):
        self._flag.set()
