"""Times of syncs and lookups. Nothing else should go on meanwhile."""

from bench.answers import Answers
from bench.figures import Figures
from bench.runtime import Runtime, steps

_FLASH = "timed.bin"


def time_syncs(runtime: Runtime, figures: Figures, answers: Answers, syncs: int) -> None:
    """Time the first so many of: a full sync, one that replaces it, the same one again."""
    flash = runtime.new_flash(_FLASH)
    all_of_them = [("full", answers.first), ("full", answers.second), ("full", answers.second)]
    full = steps(all_of_them[:syncs])
    result = runtime.measure(figures.program, flash, "syncs", *full, heap=figures.heap)
    for sync, found in zip(("first", "second", "again"), result.figures, strict=False):
        figures.times.setdefault(sync, []).append(found["ms"])


def time_lookups(runtime: Runtime, figures: Figures, answers: Answers) -> None:
    """Time lookups in the table that `time_syncs` has left in the flash."""
    flash = runtime.folder / _FLASH
    result = runtime.measure(figures.program, flash, "lookups", answers.codes, heap=figures.heap)
    for found in result.figures:
        figures.times.setdefault("lookup", []).append(found["us"])
