"""The figures of one program with one table: times, heap, flash, lookups."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.answers import Answers
from bench.runtime import KALITKA, Runtime, steps


@dataclass
class Figures:
    """What one program did with the answers of one size and order, and a fixed heap.

    end: "" or why it did not get through all of it; then the later figures are missing.
    first, second, again, nothing, one: counts of flash operations of these syncs, `ms` of the
    first two. memory: bytes of heap that the open table takes. peaks: bytes of heap in both full
    syncs at their peaks, over those before and over the program without a table. used: bytes of
    flash. lookup: microseconds, reads from the flash, bytes read. allocation: bytes of heap that
    a lookup leaves behind, and whether it works with the heap locked. file_reads: the most reads
    and bytes of a lookup, with one segment and with two. slices: the largest of both full syncs.
    """

    program: str
    tokens: int
    in_code_order: bool
    heap: str
    end: str = ""
    syncs: dict[str, dict] = field(default_factory=dict)
    one: dict | None = None
    memory: int | None = None
    used: int | None = None
    lookup: dict | None = None
    allocation: dict | None = None
    peaks: list[dict] = field(default_factory=list)
    file_reads: list[dict] = field(default_factory=list)
    slices: list[dict] = field(default_factory=list)
    times: dict[str, list[int]] = field(default_factory=dict)

    def seconds(self, sync: str) -> float | None:
        """Return the median of the seconds that a sync took, None if it was not timed."""
        found = self.times.get(sync)
        return statistics.median(found) / 1000 if found else None

    def lines_per_second(self, sync: str) -> float | None:
        """Return the lines a second of a full sync, None if it was not timed."""
        seconds = self.seconds(sync)
        return self.tokens / seconds if seconds else None

    def programmed_ratio(self, sync: str) -> float | None:
        """Return the bytes programmed by a sync in units of the final table, None if unknown."""
        if sync not in self.syncs or not self.used:
            return None
        return self.syncs[sync]["programmed"] / self.used

    def writes(self, sync: str) -> int | None:
        """Return how often a sync programmed or erased, None if it did not get there."""
        counts = self.syncs.get(sync)
        return counts["programs"] + counts["erases"] if counts else None


_SYNCS = ("first", "second", "again", "nothing")


def _answers_of(answers: Answers) -> list[str]:
    full = [("full", answers.first), ("full", answers.second), ("full", answers.second)]
    return steps([*full, ("change", answers.nothing)])


def time_syncs(runtime: Runtime, figures: Figures, answers: Answers) -> None:
    """Time the first and the second full sync once more."""
    flash = runtime.new_flash("timed.bin")
    arguments = _answers_of(answers)[:2]
    result = runtime.measure(figures.program, flash, "syncs", *arguments, heap=figures.heap)
    for sync, found in zip(_SYNCS, result.figures[1:], strict=False):
        figures.times.setdefault(sync, []).append(found["ms"])


def count(
    runtime: Runtime, figures: Figures, answers: Answers, tell: Callable[[str], None]
) -> None:
    """Measure all that is no matter of time, on a flash of its own. `tell` is told each step."""
    name = f"{figures.program}-{figures.tokens}-{figures.in_code_order}"
    flash = runtime.new_flash(f"{name}.bin")

    def measure(what: str, *arguments: object) -> list[dict]:
        tell(f"{figures.program}, {figures.tokens} tokens: {what}")
        result = runtime.measure(figures.program, flash, what, *arguments, heap=figures.heap)
        figures.end = figures.end or result.end
        return result.figures

    found = measure("syncs", *_answers_of(answers))[1:]
    figures.syncs = dict(zip(_SYNCS, found, strict=False))
    if "first" not in figures.syncs:
        return
    opened, *figures_of_lookups = measure("lookups", answers.codes)
    figures.memory, figures.used = opened["memory"], opened["used"]
    figures.lookup = figures_of_lookups[0] if figures_of_lookups else None
    in_kalitka = figures.program == KALITKA
    if in_kalitka:
        figures.file_reads += measure("file_reads", answers.codes, "/flash")[1:]
    if "nothing" in figures.syncs:
        figures.one = measure("syncs", *steps([("change", answers.one)]))[-1]
    if in_kalitka:
        figures.file_reads += measure("file_reads", answers.codes, "/flash")[1:]
        flash = runtime.new_flash(f"{name}.bin")
        figures.slices = measure("slices", *_answers_of(answers)[:2])[1:]
    flash = runtime.new_flash(f"{name}.bin")
    figures.peaks = measure("heap", *_answers_of(answers)[:2])[1:]
    flash.unlink()
    flash = runtime.folder / f"{name}-host"
    flash.mkdir()
    measure("heap", *_answers_of(answers)[:1])
    figures.allocation = measure("allocation", answers.codes)[-1]
    shutil.rmtree(flash)
