"""Virtual time: what the loop waits for passes in no time, on CPython and in MicroPython alike."""

import asyncio
import sys

MICROPYTHON = sys.implementation.name == "micropython"

if MICROPYTHON:
    import time

    class _Queue:
        # In the place of asyncio's poller: instead of waiting it moves the hands of the clock.
        def __init__(self):
            self.ahead = 0
            self.poller = asyncio.core._io_queue

        def ticks(self):
            return time.ticks_add(time.ticks_ms(), self.ahead)

        def wait_io_event(self, millis):
            if millis < 0:
                raise OSError("nothing would ever happen again")
            self.ahead += millis

        def remove(self, task):
            pass

    def run(make):
        """Run the coroutine that `make()` returns; return what it returns."""
        core = asyncio.core
        queue = _Queue()
        kept = core.ticks, core._io_queue
        core.ticks, core._io_queue = queue.ticks, queue
        try:
            return asyncio.run(make())
        finally:
            core.ticks, core._io_queue = kept
            asyncio.new_event_loop()

    def now():
        """Return the seconds of virtual time (float); only differences mean something."""
        return asyncio.core.ticks() / 1000
else:
    import selectors

    class _Selector(selectors.DefaultSelector):
        # Instead of waiting it moves the hands of the clock.
        ahead = 0

        def select(self, timeout=None):
            if timeout is None:
                raise OSError("nothing would ever happen again")
            self.ahead += max(timeout, 0)
            return super().select(0)

    def run(make):
        """Run the coroutine that `make()` returns; return what it returns."""
        selector = _Selector()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.ahead
        try:
            return loop.run_until_complete(make())
        finally:
            loop.close()

    def now():
        """Return the seconds of virtual time (float); only differences mean something."""
        return asyncio.get_running_loop().time()
