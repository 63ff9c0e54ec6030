"""The watchdog: restarts the chip when the reader hangs, whatever it hangs in.

Promises: from boot.py on the chip's watchdog is running, and nothing stops it. Until the reader
runs, and at the console, a timer feeds it, for a limited time only; from then on the lock's loop
does, as long as the loops that must turn have turned. A restart leaves the door at rest.
"""

from machine import WDT, Timer

from micropython import const

# The longest that the chip stays in C is a TLS handshake or a new file system: a few seconds.
_TIMEOUT_MS = const(20000)
_FEED_MS = const(4000)
_TIMER = const(1)  # of the chip's timers; the lock has the other one that every chip has

_wdt = None
_timer = Timer(_TIMER)
_left = 0  # feeds by the timer


def hold(seconds: int = 600) -> None:
    """Feed the watchdog by a timer for `seconds`; the first call starts the watchdog.

    The default is for a technician at the console, where noise may have led to.
    """
    global _left, _wdt
    _left = seconds * 1000 // _FEED_MS
    if not _wdt:
        _wdt = WDT(timeout=_TIMEOUT_MS)
    _timer.init(mode=Timer.PERIODIC, period=_FEED_MS, callback=_feed)


def _feed(_):
    global _left
    if _left and _wdt:
        _left -= 1
        _wdt.feed()


class Watchdog:
    """Feeds the watchdog, from now on, as long as `loops` turn.

    loops: objects of which each sets its attribute `turned` to True in its own loop, every few
    seconds or oftener.
    """

    def __init__(self, loops: list):
        self._loops = loops

    def look(self) -> None:
        """Feed if every loop has turned since the last time; for the lock's own loop."""
        for loop in self._loops:
            if not loop.turned:
                return
        for loop in self._loops:
            loop.turned = False
        # Not before the loops turn: until then the timer feeds, but not for ever.
        _timer.deinit()
        if _wdt:  # none if the reader was not started by boot.py
            _wdt.feed()
