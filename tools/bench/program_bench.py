"""The figures of one program and table other than times: heap, flash, reads."""

from collections.abc import Callable
from pathlib import Path

from bench.answers import Answers
from bench.figures import Figures
from bench.runtime import KALITKA, PLENTY, Result, Runtime, steps, used

_TIMEOUT_S = 180  # of a process that runs beside others


class ProgramBench:
    """The measurement of one program's `figures`, with a flash of its own.

    progress: called with each step.
    """

    def __init__(
        self, runtime: Runtime, figures: Figures, answers: Answers, progress: Callable[[str], None]
    ):
        self._runtime = runtime
        self._figures = figures
        self._answers = answers
        self._progress = progress
        self._name = f"{figures.program}-{figures.tokens}-{figures.in_code_order}"
        full = [("full", answers.first), ("full", answers.second), ("full", answers.second)]
        self._syncs = steps([*full, ("change", answers.nothing)])

    def run(self) -> None:
        """Measure and fill in the figures; `figures.end` says why if a step failed."""
        flash = self._runtime.new_flash(f"{self._name}.bin")
        figures = self._figures
        found = self._measure(flash, "syncs", *self._syncs).figures
        figures.syncs = dict(zip(("first", "second", "again", "nothing"), found, strict=False))
        if found:
            figures.used = used(flash)
            self._count_lookups(flash)
            self._count_heap()
        flash.unlink()

    def _measure(self, flash: Path, what: str, *arguments: object, heap: str = "") -> Result:
        figures = self._figures
        self._progress(f"{figures.program}, {figures.tokens:,} tokens: {what}")
        heap = heap or figures.heap
        result = self._runtime.measure(
            figures.program, flash, what, *arguments, heap=heap, timeout=_TIMEOUT_S
        )
        figures.end = figures.end or result.end
        return result

    def _count_lookups(self, flash: Path) -> None:
        figures, codes = self._figures, self._answers.codes
        opened = self._measure(flash, "lookups", codes)
        figures.memory = opened.memory
        figures.lookup = _only(opened)
        watched = figures.program == KALITKA
        if watched:
            figures.file_reads += self._measure(flash, "file_reads", codes, heap=PLENTY).figures
        if "nothing" not in figures.syncs:
            return
        change = steps([("change", self._answers.one)])
        figures.one = _only(self._measure(flash, "syncs", *change))
        if watched:
            figures.file_reads += self._measure(flash, "file_reads", codes, heap=PLENTY).figures

    def _count_heap(self) -> None:
        figures = self._figures
        # A second full sync that failed before would fail here, too.
        full = self._syncs[: len(figures.syncs)][:2]
        flash = self._runtime.new_flash(f"{self._name}.bin")
        figures.peaks = self._measure(flash, "heap", *full).figures
        if figures.program == KALITKA:
            flash = self._runtime.new_flash(f"{self._name}.bin")
            figures.slices = self._measure(flash, "slices", *full, heap=PLENTY).figures
        if not figures.end:
            folder = self._runtime.folder / f"{self._name}-host"
            folder.mkdir()
            self._measure(folder, "heap", *full[:1])
            codes = self._answers.codes
            figures.allocation = _only(self._measure(folder, "allocation", codes, heap=PLENTY))


def _only(result: Result) -> dict | None:
    return result.figures[0] if result.figures else None
