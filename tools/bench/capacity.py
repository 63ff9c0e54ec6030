"""The number of tokens that each program holds with a given heap, through an atomic full sync.

Tokens are held if a first full sync succeeds, then a second one that replaces the table while the
old one stays in force, and if the codes are found after a restart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import answers
from bench.runtime import FILES, KALITKA, PLAIN, Runtime, steps

HEAPS = ("96K", "160K", "256K")
SIZES = (1000, 5000, 20_000, 50_000, 100_000)
# The search's first number, its factor on the way up, and the factor between the numbers held and
# not held at which it ends. A file per token takes a minute where the other two take a second.
_SEARCH = {PLAIN: (100, 2, 1.05), FILES: (2000, 1.5, 1.5)}


@dataclass(frozen=True)
class Capacity:
    """The largest number of tokens (or entries) that a program holds.

    first_failed: the smallest number that failed, 0 if none did. why: the reason of that failure.
    """

    tokens: int
    first_failed: int = 0
    why: str = ""


class Trial:
    """A trial of one program and heap with different numbers of tokens."""

    def __init__(self, runtime: Runtime, program: str, heap: str, progress: Callable[[str], None]):
        self._runtime = runtime
        self._program = program
        self._heap = heap
        self._progress = progress

    def fault(self, count: int) -> str:
        """Return "" if `count` tokens are held, else why they are not."""
        self._progress(f"{self._program}: {count} tokens in a heap of {self._heap}")
        name = f"held-{self._program}-{self._heap}"
        found = answers.make(self._runtime.folder / name, count, in_code_order=False)
        flash = self._runtime.new_flash(f"{name}.bin")
        both = steps([("full", found.first), ("full", found.second)])
        try:
            return self._run(flash, "syncs", both) or self._run(flash, "lookups", [found.codes])
        finally:
            flash.unlink()

    def _run(self, flash: Path, what: str, arguments: list) -> str:
        result = self._runtime.measure(self._program, flash, what, *arguments, heap=self._heap)
        return result.end


def measure_capacity(
    runtime: Runtime, program: str, heap: str, progress: Callable[[str], None]
) -> Capacity:
    """Return how many tokens a program holds with this heap. progress: called with each trial."""
    trial = Trial(runtime, program, heap, progress)
    return _largest(trial) if program == KALITKA else search_limit(trial.fault, *_SEARCH[program])


def _largest(trial: Trial) -> Capacity:
    # The largest of the benchmark's SIZES that is held.
    first_failed, why = 0, ""
    for count in reversed(SIZES):
        fault = trial.fault(count)
        if not fault:
            return Capacity(count, first_failed, why)
        first_failed, why = count, fault
    return Capacity(0, first_failed, why)


def search_limit(fault: Callable[[int], str], start: int, step: float, close: float) -> Capacity:
    """Return the largest number without a fault: search upwards, then by bisection.

    step: the factor on the way up. close: the factor between the numbers with and without a fault
    at which the search ends.
    """
    good, bad, why = 0, 0, ""
    count = start
    while not bad or bad > max(good, 1) * close:
        found = fault(count)
        if found:
            bad, why = count, found
        else:
            good = count
        count = (good + bad) // 2 if bad else int(good * step)
    return Capacity(good, bad, why)
