"""The clock of a reader under test, which the test's servers advance.

See `device/piped_time.py` for the reader's side. A server that answers does not advance the clock:
the reader waits, however slow the computer is. A server that is silent on purpose advances it, and
returns only when the seconds have passed: no later answer meets a wait that is nearly over.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ReaderClock:
    """The clock of the reader that runs at the moment, if any; a single reader at a time."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._changed = threading.Condition()
        self._pipe: int | None = None
        self._passing = False

    def advance(self, seconds: float) -> None:
        """Advance by `seconds`; return when they have passed, or when the reader has ended."""
        with self._one, self._changed:
            if self._pipe is None:
                return
            self._passing = True
            with suppress(BrokenPipeError):  # the reader has just ended
                os.write(self._pipe, b"%d\n" % max(1, round(seconds * 1000)))
            self._changed.wait_for(lambda: not self._passing)

    def confirm(self) -> None:
        """Record the reader's confirmation that the seconds have passed."""
        with self._changed:
            self._passing = False
            self._changed.notify_all()

    @contextmanager
    def attached(self, pipe: int) -> Iterator[None]:
        """Advance the reader at this pipe until the block ends."""
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
    """Both sides of the clock of a reader that runs in this process, in CPython."""

    _far = -1

    def fileno(self) -> int:
        """Return the descriptor that is readable when time is to pass."""
        return self._far

    def read_millis(self) -> int:
        """Return the next milliseconds to pass."""
        return int(os.read(self._far, 32))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Advance the reader that runs in this block, the only one."""
        self._far, near = os.pipe()
        try:
            with self.attached(near):
                yield
        finally:
            os.close(self._far)
            os.close(near)
