"""The clock of the tests, moved by hand, and what the firmware's clock does for others."""

import asyncio


async def every_second(look):
    """Call `look` every second, for ever."""
    while True:
        look()
        await asyncio.sleep(1)


class HandClock:
    """A clock moved by hand. `now`: seconds since 1970 UTC, told only if `is_set`."""

    def __init__(self, now):
        self.is_set = False
        self.now = now
        self._began = now

    def uptime(self):
        """Return the seconds since the start."""
        return self.now - self._began

    def seconds(self):
        """Return the seconds since 1970 UTC."""
        return self.now
