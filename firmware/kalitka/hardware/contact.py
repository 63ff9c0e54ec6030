"""A switch on one pin: exit button, door contact, alarm contact.

Normally open or normally closed, between the pin (an input with pull-up) and ground. Promises: a
state is told only when it is steady; the interrupt handler allocates nothing.
"""

import asyncio

from micropython import const

_STEADY_MS = const(30)  # contacts bounce for 5 to 20 ms


class Contact:
    """The switch at `pin`.

    normally_closed: it is closed while nothing happens: while the button is not pressed, the door
    shut, the alarm off. active: whether something does.
    """

    def __init__(self, pin, normally_closed: bool):
        self._pin = pin
        self._active_level = 1 if normally_closed else 0
        self._flag = asyncio.ThreadSafeFlag()
        self.active = pin.value() == self._active_level
        pin.irq(handler=self._edge, trigger=pin.IRQ_FALLING | pin.IRQ_RISING)

    async def change(self) -> bool:
        """Wait until it is steady in the other state; return whether that is the active one.

        May be ended while it waits: nothing is missed then.
        """
        while True:
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
