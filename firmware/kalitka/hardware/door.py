"""The door as its contact shows it: opened without leave, or left open for too long.

Promises: an alarm that began is ended when the door is shut; a door is not called forced for
what a person does whom the lock let through.
"""

import asyncio

from kalitka.journal.entries import FORCED, HELD


async def watch(contact, lock, seconds: float, callback) -> None:
    """Watch the door for ever.

    contact: a Contact, active while the door is open. lock: has `released`, see Lock.
    seconds: for which it may stand open, 0 for ever. callback: called with (state, reason), reason
    FORCED or HELD, with state 1 when it begins and 0 when the door is shut again.
    """
    while True:
        if not contact.active:
            # One that was open at the start was not forced: nobody knows who opened it.
            await contact.change()
            if not lock.released:
                await _until_shut(contact, FORCED, callback)
                continue
        if seconds:
            try:
                await asyncio.wait_for(contact.change(), seconds)
                continue
            except asyncio.TimeoutError:
                await _until_shut(contact, HELD, callback)
        else:
            await contact.change()


async def _until_shut(contact, reason, callback):
    callback(1, reason)
    await contact.change()
    callback(0, reason)
