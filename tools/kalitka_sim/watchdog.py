"""The watchdog of a virtual chip: counts the chip's time outside of its process, and bites.

A process that hangs, sleeps or is stopped uses up the time. A process that is ready to run and
gets no processor does not, nor does the time for which this process was kept from looking: a busy
computer is not a fault of the firmware.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

_LOOK_S = 0.1
_LATEST_S = 2 * _LOOK_S  # counted for a look, however late it comes


class Watchdog:
    """The watchdog of the process `pid`, which may be replaced (`attach`), as by a soft reset.

    speed: by how much the chip's time passes faster than this computer's.
    on_bite: called once when the time is over, with the process, in the watchdog's own thread.
    """

    def __init__(self, on_bite: Callable[[int], None]):
        self._on_bite = on_bite
        self._changed = threading.Condition()
        self._millis = 0  # 0: not started
        self._used = 0.0  # seconds since it was fed
        self._pid = 0
        self._counting = False
        self._paused = False
        self.speed = 1.0

    def attach(self, pid: int) -> None:
        """Count the time of this process from now on."""
        with self._changed:
            self._pid = pid

    def feed(self, millis: int) -> None:
        """Start with `millis` for each time, or, with 0, start the time again."""
        with self._changed:
            self._used = 0.0
            self._millis = millis or self._millis
            if self._millis and not self._counting:
                self._counting = True
                threading.Thread(target=self._count, daemon=True).start()

    def pause(self) -> None:
        """Stop counting until `spend`."""
        with self._changed:
            self._paused = True

    def spend(self, seconds: float) -> None:
        """Count on, and count these seconds of the chip's time at once."""
        with self._changed:
            self._paused = False
            self._used += seconds
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop: the chip is reset or has no power."""
        with self._changed:
            self._millis = 0
            self._used = 0.0
            self._changed.notify_all()

    def _count(self) -> None:
        last = time.monotonic()
        starved = 0.0
        pid = 0
        while True:
            with self._changed:
                self._changed.wait(_LOOK_S)
                if not self._millis:
                    self._counting = False
                    return
                now, waited = time.monotonic(), _starved(self._pid)
                if pid == self._pid:
                    passed = min(now - last, _LATEST_S)
                    counted = max(0.0, passed - (waited - starved))
                    self._used += 0.0 if self._paused else counted * self.speed
                last, starved, pid = now, waited, self._pid
                if self._paused or self._used * 1000 < self._millis:
                    continue
                self._millis = 0
                self._counting = False
            self._on_bite(pid)
            return


def _starved(pid: int) -> float:
    # The seconds for which the process was ready to run but had no processor (Linux).
    try:
        fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0
