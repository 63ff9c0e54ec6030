"""Restarts a reader and waits for its own word that it works; then says what came of it."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from kalitka_cli.mpremote import DeployError, Mpremote, listen, snippet
from kalitka_cli.reader_report import STEPS, Report

PATIENCE_S = 120
# What has failed may come right: another network, the time server's next answer. So long after the
# last failure nothing more is expected.
_GRACE_S = 30
# A soft reset would not do: mpremote makes it from the raw REPL, where main.py is not run.
# What it prints tells that it was reached: a USB that is in the chip itself goes with the restart.
_RESET = """
import machine, time
print("restarting")
time.sleep_ms(200)
machine.reset()
"""


def restart(
    mpremote: Mpremote, secure: bool | None, patience: float, console: Console
) -> Report | None:
    """Restart the device and hear its console until the reader works, or no longer than that.

    secure: whether its server is an https:// one, None if it is not known. patience: seconds; 0
    only restarts it and returns None. The reader is left running whatever happens; Ctrl-C as
    well. Raises DeployError if it cannot be restarted.
    """
    if not patience:
        mpremote.run(["reset"])
        return None
    report = Report(secure)
    wait = _Wait(report, patience)
    with console.status("restarting the reader ...") as status:

        def on_line(line: str) -> None:
            wait.hear(line)
            status.update(f"waiting for the reader: {report.missing or 'done'} ...")

        try:
            mpremote.watch(snippet(_RESET), until=wait.over, on_line=on_line)
        except DeployError:
            if not wait.began:
                raise
            listen(mpremote.port, wait.over, on_line)
    return report


def tell(report: Report, console: Console) -> tuple[str, int]:
    """Print a line a step. Return ("", 0), or what is missing in words and the exit status."""
    colours = {"✓": "green", "✗": "red"}
    for name in STEPS:
        mark, words = report.marked(name)
        colour = colours.get(mark, "yellow")
        line = f"{name}: {words}" if words else name
        console.print(f"  [{colour}]{mark}[/] {escape(line)}")
    if missing := report.missing:
        words = report.marked(missing)[1]
        return f"the reader does not work yet; {missing}: {words}", STEPS[missing]
    if closed := report.opens:
        console.print(f"[yellow]the reader runs, but no card opens the door: {escape(closed)}[/]")
    else:
        console.print("[green]✓[/] the reader works: a card opens the door if its rules allow it")
    return "", 0


class _Wait:
    """Knows when there is nothing more to wait for."""

    def __init__(self, report: Report, patience: float):
        self._report = report
        self._now: Callable[[], float] = time.monotonic
        self._end = self._now() + patience
        self._troubled = 0.0  # when a failure was told last
        self._troubles: list[tuple[str, str]] = []
        self.began = False  # whether the device was reached

    def hear(self, line: str) -> None:
        self.began = True
        self._report.hear(line)
        troubles = [self._report.marked(name) for name in STEPS]
        if troubles != self._troubles:
            self._troubles = troubles
            self._troubled = self._now()

    def over(self) -> bool:
        now = self._now()
        if now >= self._end or not self._report.missing:
            return True
        return self._report.in_trouble and now >= self._troubled + _GRACE_S
