"""The clock of a reader with real sockets: it stands still until it is told that time passes.

So a reader waits for whatever is under way, however busy the computer is; and where the other side
is silent on purpose, that says so, and seconds pass at once: after all that has come was taken,
and step by step, so that everything that waits for its time has its turn.

Who tells it: `clock` has `fileno`, which can be waited for; `take`, which returns the next
milliseconds that are to pass; and `passed`, which is called when they have.
"""

import asyncio
import sys

from device.fake_time import MICROPYTHON, Hands

_TURN = 2  # milliseconds that go by where something came: nothing is done in no time
_FOR_EVER = 1 << 29


class _Told:
    # How far the hands may go. silent: nobody tells, since nobody is there to speak.

    def __init__(self, clock, silent):
        self.hands = Hands()
        self.clock = clock
        self._silent = silent
        self._left = _FOR_EVER if silent else 0

    def go_on(self, millis):
        # Instead of waiting for so long, -1 without end; returns whether there was something left.
        if not self._left:
            return False
        step = self._left if millis < 0 else min(self._left, millis)
        self.hands.move(step)
        if not self._silent:
            self._left -= step
            if not self._left:
                self.clock.passed()
        return True

    def listen(self):
        self._left = self.clock.take()


if MICROPYTHON:
    import select

    class Stdin:
        """Told by lines of stdin, each with a number; answers with lines `passed`."""

        def fileno(self):
            return sys.stdin

        def take(self):
            line = sys.stdin.readline()
            if not line:
                raise OSError("the world has ended")
            return int(line)

        def passed(self):
            print("passed")

    class _Poller:
        # In the place of the poller that asyncio waits with.
        def __init__(self, poller, told):
            self.register = poller.register
            self.modify = poller.modify
            self.unregister = poller.unregister
            self._poller = poller
            self._told = told
            self._clock = told.clock.fileno()

        def ipoll(self, millis):
            found = [(one[0], one[1]) for one in self._poller.ipoll(0)]
            if found:
                self._told.hands.move(_TURN)
                return found
            if millis and not self._told.go_on(millis):
                self._wait()
            return ()

        def _wait(self):
            # Until something comes, or time may pass. (What came is looked at next time.)
            self._poller.register(self._clock, select.POLLIN)
            heard = False
            for one in self._poller.ipoll(-1):
                heard = heard or one[0] is self._clock
            self._poller.unregister(self._clock)
            if heard:
                self._told.listen()

    def run(make, clock, silent=False):
        """Run the coroutine that `make()` returns; return what it returns."""
        core = asyncio.core
        told = _Told(clock, silent)
        core.ticks = told.hands.ticks
        core._io_queue.poller = _Poller(core._io_queue.poller, told)
        return asyncio.run(make())
else:
    import selectors

    from device.fake_time import loop_of, millis_of

    class _Selector(selectors.DefaultSelector):
        def __init__(self, told):
            super().__init__()
            self.hands = told.hands
            self._told = told

        def select(self, timeout=None):
            found = super().select(0)
            if found:
                self.hands.move(_TURN)
                return found
            millis = -1 if timeout is None else millis_of(timeout)
            if millis and not self._told.go_on(millis):
                self._wait()
            return []

        def _wait(self):
            self.register(self._told.clock, selectors.EVENT_READ)
            found = super().select()
            self.unregister(self._told.clock)
            if any(key.fileobj is self._told.clock for key, _ in found):
                self._told.listen()

    def run(make, clock, silent=False):
        """Run the coroutine that `make()` returns; return what it returns."""
        loop = loop_of(_Selector(_Told(clock, silent)))
        try:
            return loop.run_until_complete(make())
        finally:
            loop.close()
