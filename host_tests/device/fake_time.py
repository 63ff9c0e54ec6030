"""Virtual time: what the loop waits for passes in no time, on CPython and in MicroPython alike.

It goes on only while everybody waits, and by whole milliseconds: how fast the computer is makes no
difference, and a second later is a second, whatever the difference of two floats would lack.
"""

import asyncio
import sys

MICROPYTHON = sys.implementation.name == "micropython"

if MICROPYTHON:
    import time

    # What is to run at once is put into asyncio's queue with the time of the chip: it has to come
    # before all that waits for virtual time, however long the tests run. 37 hours.
    _AHEAD = 1 << 27

    class Hands:
        """The hands of the clock. passed: milliseconds since it began."""

        def __init__(self):
            self.passed = 0
            self._ticks = time.ticks_add(time.ticks_ms(), _AHEAD)

        def ticks(self):
            """Return them as MicroPython counts time."""
            return self._ticks

        def move(self, millis):
            """Let time go by."""
            self.passed += millis
            self._ticks = time.ticks_add(self._ticks, millis)

    class _Queue:
        # In the place of asyncio's poller: instead of waiting it moves the hands.
        map = ("nobody waits for a socket, and yet the loop goes on",)

        def __init__(self, hands):
            self.hands = hands

        def wait_io_event(self, millis):
            if millis < 0:
                raise OSError("nothing would ever happen again")
            self.hands.move(millis)

        def remove(self, task):
            pass

    def run(make):
        """Run the coroutine that `make()` returns; return what it returns."""
        core = asyncio.core
        hands = Hands()
        kept = core.ticks, core._io_queue
        core.ticks, core._io_queue = hands.ticks, _Queue(hands)
        try:
            return asyncio.run(make())
        finally:
            core.ticks, core._io_queue = kept
            asyncio.new_event_loop()

    def millis():
        """Return the milliseconds of virtual time (integer); only differences mean something."""
        return asyncio.core._io_queue.hands.passed
else:
    import selectors

    class Hands:
        """The hands of the clock. passed: milliseconds since it began."""

        def __init__(self):
            self.passed = 0

        def move(self, millis):
            """Let time go by."""
            self.passed += millis

    def millis_of(timeout):
        """Return what asyncio wants to wait for (seconds) in whole milliseconds."""
        # Never less than one: else a time that is nearly there would be waited for for ever.
        return max(1, round(timeout * 1000)) if timeout > 0 else 0

    def loop_of(selector):
        """Return an event loop whose clock is the `hands` of its selector."""
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.hands.passed / 1000
        # What is less than half a millisecond away is due.
        loop._clock_resolution = 0.0005
        return loop

    class _Selector(selectors.DefaultSelector):
        # Instead of waiting it moves the hands.
        def __init__(self):
            super().__init__()
            self.hands = Hands()

        def select(self, timeout=None):
            if timeout is None:
                raise OSError("nothing would ever happen again")
            self.hands.move(millis_of(timeout))
            return super().select(0)

    def run(make):
        """Run the coroutine that `make()` returns; return what it returns."""
        loop = loop_of(_Selector())
        try:
            return loop.run_until_complete(make())
        finally:
            # asyncio logs an error when a pending task is garbage collected.
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.close()

    def millis():
        """Return the milliseconds of virtual time (integer); only differences mean something."""
        return asyncio.get_running_loop()._selector.hands.passed


def now():
    """Return the seconds of virtual time (float); only differences mean something, and nearly."""
    return millis() / 1000


class Watch:
    """A stopwatch that runs from its making on."""

    def __init__(self):
        self._began = millis()

    def seconds(self):
        """Return the whole seconds since then, exactly."""
        return (millis() - self._began) // 1000
