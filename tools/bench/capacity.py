"""How many tokens each program holds with a heap, kept through an atomic full sync.

Tokens are held if the first full sync goes through, then a second one that replaces the table
while the old one stays in force, and if after a restart the codes are found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import answers
from bench.runtime import FILES, KALITKA, PLAIN, Runtime, steps

HEAPS = ("96K", "160K", "256K")
SIZES = (1000, 5000, 20_000, 50_000, 100_000)
# Where a search begins, by what it goes on, and the factor between held and not held at which
# it ends. A file a token takes a minute where the other two take a second.
_SEARCH = {PLAIN: (100, 2, 1.05), FILES: (2000, 1.5, 1.5)}


@dataclass(frozen=True)
class Capacity:
    """tokens, or entries: the most that went through. first_failed: the fewest that were tried in
    vain, 0 if none were; why: what stood in the way of these."""

    tokens: int
    first_failed: int = 0
    why: str = ""


class Trial:
    """Tries numbers of tokens with one program and heap."""

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
    """Return how many tokens a program holds with this heap. Each trial goes to `progress`."""
    trial = Trial(runtime, program, heap, progress)
    return _largest(trial) if program == KALITKA else search_limit(trial.fault, *_SEARCH[program])


def _largest(trial: Trial) -> Capacity:
    # The greatest of the sizes that every table of the bench has.
    first_failed, why = 0, ""
    for count in reversed(SIZES):
        fault = trial.fault(count)
        if not fault:
            return Capacity(count, first_failed, why)
        first_failed, why = count, fault
    return Capacity(0, first_failed, why)


def search_limit(fault: Callable[[int], str], start: int, step: float, close: float) -> Capacity:
    """Return the greatest number without a fault: goes up, then halves the distance.

    step: the factor on the way up. close: the one between that and a number with a fault.
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
