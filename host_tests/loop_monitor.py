"""A pytest plugin that counts the firmware's lines between two chances for other tasks to run.

While one task runs, the door waits. A test fails if a turn of the loop executes more than MOST
lines of the firmware, and the line that was executed most is named. Lines, not milliseconds: the
count is the same on a busy computer. Not counted: `native` and `sync_native`, which are machine
code on a chip, and what a test calls by itself, without the loop.

`make test-long` has it beside the syncs and the gate, `make test-all` beside every device case:
pytest -p loop_monitor.
"""

import asyncio
import sys
from collections import Counter
from inspect import CO_COROUTINE, CO_ITERABLE_COROUTINE

import pytest

MOST = 3000

_FIRMWARE, _TESTS = "/firmware/", "/host_tests/"
_MACHINE_CODE = ("native.py", "sync_native.py")
# It walks through `sys.modules`, which holds far more here than on a chip.
_NOT_HERE = ("/firmware/kalitka/__init__.py",)
_run_handle = asyncio.events.Handle._run


class Monitor:
    """Counts the lines of each turn. longest: (lines, file and line executed most, test)."""

    def __init__(self):
        self.longest = (0, "", "")
        self.faults = []
        self.turns = 0
        self.test = ""
        self._lines = Counter()

    def run(self, handle):
        """Run one handle of the loop, counted."""
        self._lines.clear()
        self.turns += 1
        before = sys.gettrace()
        sys.settrace(self._begin)
        for frame in _waiting_frames(handle):
            if _is_counted(frame):
                frame.f_trace = self._count
        try:
            return _run_handle(handle)
        finally:
            sys.settrace(before)
            self._end()

    def run_handle(self):
        """Return a function to stand in the place of `asyncio.events.Handle._run`."""

        def run(handle):
            return self.run(handle)

        return run

    def _begin(self, frame, _event, _value):
        return self._count if _is_counted(frame) and _is_of_the_loop(frame) else None

    def _count(self, frame, event, _value):
        if event == "line":
            self._lines[frame.f_code.co_filename, frame.f_lineno] += 1
        return self._count

    def _end(self):
        count = self._lines.total()
        if count <= min(self.longest[0], MOST):
            return
        (file, line), _ = self._lines.most_common(1)[0]
        place = f"{file.rpartition(_FIRMWARE)[2]}:{line}"
        self.longest = max(self.longest, (count, place, self.test))
        if count > MOST:
            self.faults.append(f"{count} lines in one turn of the loop, most of them at {place}")


def _is_counted(frame):
    file = frame.f_code.co_filename
    return _FIRMWARE in file and not file.endswith(_MACHINE_CODE + _NOT_HERE)


def _is_of_the_loop(frame):
    # A coroutine that a test awaits runs in the loop; a function that it calls does not.
    while frame.f_back:
        if _TESTS in frame.f_back.f_code.co_filename:
            return bool(frame.f_code.co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE))
        frame = frame.f_back
    return True


def _waiting_frames(handle):
    # The frames of the task that goes on: they are entered without a call.
    waiting = getattr(getattr(handle._callback, "__self__", None), "_coro", None)
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            return
        yield frame
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)


_monitor = Monitor()


@pytest.fixture(autouse=True)
def _monitored(request, monkeypatch):
    _monitor.test = request.node.nodeid
    _monitor.faults.clear()
    monkeypatch.setattr(asyncio.events.Handle, "_run", _monitor.run_handle())
    yield
    assert not _monitor.faults, "\n".join(_monitor.faults)


def pytest_terminal_summary(terminalreporter):
    """Print how many turns were counted, and the longest."""
    lines, place, test = _monitor.longest
    terminalreporter.write_line(
        f"# {_monitor.turns} turns of the loop; the longest {lines} lines, most of them at "
        f"{place}, in {test}"
    )
