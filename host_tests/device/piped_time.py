"""The clock of a reader with real sockets: it stands still until time is passed by a pipe.

So a reader waits for whatever is under way, however busy the computer is; and where the other side
is silent on purpose, that says so, and seconds pass at once: after all that has come was taken,
and step by step, so that everything that waits for its time has its turn.

`clock` is the source of time: `fileno` can be waited for, `read_millis` returns the next
milliseconds that are to pass, and `confirm` is called when they have.
"""

import asyncio
import sys

from device.fake_time import MICROPYTHON, Hands

_TURN = 2  # milliseconds that go by where something came: nothing is done in no time
_FOR_EVER = 1 << 29


class _PipedTime:
    # How far the hands may go. silent: nothing passes time, there is no other side.

    def __init__(self, clock, silent):
        self.hands = Hands()
        self.clock = clock
        self._silent = silent
        self._left = _FOR_EVER if silent else 0

    def advance(self, millis):
        # Instead of waiting for so long, -1 without end; returns whether there was something left.
        if not self._left:
            return False
        step = self._left if millis < 0 else min(self._left, millis)
        self.hands.move(step)
        if not self._silent:
            self._left -= step
            if not self._left:
                self.clock.confirm()
        return True

    def read(self):
        self._left = self.clock.read_millis()


if MICROPYTHON:
    import select

    class Stdin:
        """A clock driven by lines of stdin, each a number; answers with lines `passed`."""

        def fileno(self):
            return sys.stdin

        def read_millis(self):
            line = sys.stdin.readline()
            if not line:
                raise OSError("the world has ended")
            return int(line)

        def confirm(self):
            print("passed")

    class _Poller:
        # In the place of the poller that asyncio waits with.
        def __init__(self, poller, time):
            self.register = poller.register
            self.modify = poller.modify
            self.unregister = poller.unregister
            self._poller = poller
            self._time = time
            self._clock = time.clock.fileno()

        def ipoll(self, millis):
            found = [(one[0], one[1]) for one in self._poller.ipoll(0)]
            if found:
                self._time.hands.move(_TURN)
                return found
            if millis and not self._time.advance(millis):
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
                self._time.read()

    def run(make, clock, silent=False):
        """Run the coroutine that `make()` returns; return what it returns."""
        core = asyncio.core
        time = _PipedTime(clock, silent)
        core.ticks = time.hands.ticks
        core._io_queue.poller = _Poller(core._io_queue.poller, time)
        return asyncio.run(make())
else:
    import selectors

    from device.fake_time import loop_of, millis_of

    class _Selector(selectors.DefaultSelector):
        def __init__(self, time):
            super().__init__()
            self.hands = time.hands
            self._time = time

        def select(self, timeout=None):
            found = super().select(0)
            if found:
                self.hands.move(_TURN)
                return found
            millis = -1 if timeout is None else millis_of(timeout)
            if millis and not self._time.advance(millis):
                self._wait()
            return []

        def _wait(self):
            self.register(self._time.clock, selectors.EVENT_READ)
            found = super().select()
            self.unregister(self._time.clock)
            if any(key.fileobj is self._time.clock for key, _ in found):
                self._time.read()

    def run(make, clock, silent=False):
        """Run the coroutine that `make()` returns; return what it returns."""
        loop = loop_of(_Selector(_PipedTime(clock, silent)))
        try:
            return loop.run_until_complete(make())
        finally:
            loop.close()
