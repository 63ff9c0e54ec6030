"""The clock of a reader that speaks with the servers of a test: they say when time passes there.

See `device/piped_time.py` for the other side. A server that answers says nothing: however slow the
computer is, the reader waits. Whoever keeps silent on purpose lets seconds pass, and knows that
they have: so nothing that comes afterwards meets a wait that is nearly over.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ReaderClock:
    """Passes time in the reader that runs at the moment, if any; one at a time."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._changed = threading.Condition()
        self._pipe: int | None = None
        self._passing = False

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass; returns when they have, or when the reader has ended."""
        with self._one, self._changed:
            if self._pipe is None:
                return
            self._passing = True
            with suppress(BrokenPipeError):  # it has just ended
                os.write(self._pipe, b"%d\n" % max(1, round(seconds * 1000)))
            self._changed.wait_for(lambda: not self._passing)

    def confirm(self) -> None:
        """Note the reader's confirmation that they have."""
        with self._changed:
            self._passing = False
            self._changed.notify_all()

    @contextmanager
    def attached(self, pipe: int) -> Iterator[None]:
        """Drive the reader at this pipe until the block ends."""
        with self._changed:
            self._pipe = pipe
        try:
            yield
        finally:
            with self._changed:
                self._pipe = None
                self._passing = False
                self._changed.notify_all()


class InProcessClock(ReaderClock):
    """The clock of a reader that runs in this very process, in CPython: both of its sides."""

    _far = -1

    def fileno(self) -> int:
        """Return what can be read when time may pass."""
        return self._far

    def read_millis(self) -> int:
        """Return the next milliseconds that are to pass."""
        return int(os.read(self._far, 32))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Drive the reader that runs in this block; it is the only one."""
        self._far, near = os.pipe()
        try:
            with self.attached(near):
                yield
        finally:
            os.close(self._far)
            os.close(near)
