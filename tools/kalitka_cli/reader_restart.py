"""The restart of a reader, the wait until it works, and the printed report."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from kalitka_cli.mpremote import DeviceError, Mpremote, exec_command, read_console
from kalitka_cli.reader_report import STEPS, StartupReport

TIMEOUT_S = 120
# Seconds. A failed step may still recover, by another network or the time server's next answer;
# this long after the last change no recovery is expected.
_GRACE_S = 30
# A hard reset: after mpremote's soft reset, from the raw REPL, main.py does not run. The printed
# line proves that the device was reached before a chip with built-in USB disappears.
_RESET = """
import machine, time
print("restarting")
time.sleep_ms(200)
machine.reset()
"""


def restart_and_wait(
    mpremote: Mpremote, secure: bool | None, timeout: float, console: Console
) -> StartupReport | None:
    """Restart the device and follow its console until the reader works, or until `timeout`.

    secure: whether its server is https://, None if unknown. timeout: seconds; 0 only restarts the
    device and returns None. The reader is left running whatever happens, even on Ctrl-C. Raises
    DeviceError if the device cannot be restarted.
    """
    if not timeout:
        mpremote.run(["reset"])
        return None
    report = StartupReport(secure)
    wait = _StartupWait(report, timeout)
    with console.status("restarting the reader ...") as status:

        def on_line(line: str) -> None:
            wait.add_line(line)
            status.update(f"waiting for the reader: {report.missing or 'done'} ...")

        try:
            mpremote.watch(exec_command(_RESET), until=wait.is_over, on_line=on_line)
        except DeviceError:
            if not wait.reached:
                raise
            read_console(mpremote.port, wait.is_over, on_line)
    return report


def print_report(report: StartupReport, console: Console) -> tuple[str, int]:
    """Print a line per step. Return (the missing step in words, exit status), or ("", 0)."""
    colours = {"✓": "green", "✗": "red"}
    for name in STEPS:
        mark, words = report.status_of(name)
        colour = colours.get(mark, "yellow")
        line = f"{name}: {words}" if words else name
        console.print(f"  [{colour}]{mark}[/] {escape(line)}")
    if missing := report.missing:
        words = report.status_of(missing)[1]
        return f"the reader does not work yet; {missing}: {words}", STEPS[missing]
    if closed := report.why_closed:
        console.print(f"[yellow]the reader runs, but no card opens the door: {escape(closed)}[/]")
    else:
        console.print("[green]✓[/] the reader works: a card opens the door if its rules allow it")
    return "", 0


class _StartupWait:
    """The end condition of the wait for a reader's start."""

    def __init__(self, report: StartupReport, timeout: float):
        self._report = report
        self._now: Callable[[], float] = time.monotonic
        self._end = self._now() + timeout
        self._last_problem = 0.0  # monotonic time of the last change of a step
        self._steps: list[tuple[str, str]] = []
        self.reached = False  # whether the device has printed anything

    def add_line(self, line: str) -> None:
        self.reached = True
        self._report.add_line(line)
        steps = [self._report.status_of(name) for name in STEPS]
        if steps != self._steps:
            self._steps = steps
            self._last_problem = self._now()

    def is_over(self) -> bool:
        now = self._now()
        if now >= self._end or not self._report.missing:
            return True
        return self._report.has_problem and now >= self._last_problem + _GRACE_S
