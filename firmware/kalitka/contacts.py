"""The exit button, the door contact and the alarm contact: their effects at the gate.

Loaded if the settings name one of them. Promises: an event is in the access log before the lock
opens or anything is reported.
"""

from kalitka.hardware.lock import Lock
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog


async def serve_exit_button(button, log: AccessLog, lock: Lock, report) -> None:
    """Open the lock when the exit button is pressed, for ever."""
    while True:
        if await button.change():
            log.append(entries.EXIT_BUTTON, 1, 0)
            lock.open()
            report("exit button")


async def serve_alarm(contact, log: AccessLog, report) -> None:
    """Log the changes of the alarm contact, for ever."""
    # An alarm that is on at the start is logged as well.
    state = contact.active or await contact.change()
    while True:
        log.append(entries.ALARM, int(state), 0)
        report("alarm %s" % ("on" if state else "off"))
        state = await contact.change()


async def serve_door(contact, seconds: float, log: AccessLog, lock: Lock, report) -> None:
    """Log when the door is forced, or open for more than `seconds`, for ever."""
    from kalitka.hardware.door import watch
    from kalitka.journal.words import reason_text

    def callback(state, reason):
        log.append(entries.DOOR, state, reason)
        words = reason_text(entries.DOOR, reason)
        report("door %s" % words if state else "door shut, it was %s" % words)

    await watch(contact, lock, seconds, callback)
