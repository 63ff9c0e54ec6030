"""What the firmware's clock does for those that are to be looked after."""

import asyncio


async def every_second(look):
    """Call `look` every second, for ever."""
    while True:
        look()
        await asyncio.sleep(1)
