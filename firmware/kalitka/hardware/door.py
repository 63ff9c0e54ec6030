"""The door contact's alarms: door forced, door held open.

Promises: an alarm that began ends when the door is shut; a door that opens while the lock has
released it is not reported as forced.
"""

import asyncio

from kalitka import within
from kalitka.journal.entries import FORCED, HELD


async def watch(contact, lock, seconds: float, callback) -> None:
    """Watch the door for ever.

    contact: a Contact, active while the door is open. lock: has `released`, see Lock.
    seconds: for which the door may stand open, 0 for ever. callback: called with (state, reason),
    reason FORCED or HELD; state is 1 when the alarm begins and 0 when the door is shut again.
    """
    while True:
        if not contact.active:
            # Not reached for a door that is open at the start: nobody knows whether it was forced.
            await contact.change()
            if not lock.released:
                await _until_shut(contact, FORCED, callback)
                continue
        if seconds:
            try:
                await within(contact.change(), seconds)
                continue
            except asyncio.TimeoutError:
                await _until_shut(contact, HELD, callback)
        else:
            await contact.change()


async def _until_shut(contact, reason, callback):
    callback(1, reason)
    await contact.change()
    callback(0, reason)
