"""Times of syncs and lookups. Nothing else should go on meanwhile."""

from bench.answers import Answers
from bench.figures import Figures
from bench.runtime import Runtime, steps

_FLASH = "timed.bin"


def time_syncs(runtime: Runtime, figures: Figures, answers: Answers, syncs: int) -> None:
    """Time the first one or both of the full syncs."""
    flash = runtime.new_flash(_FLASH)
    full = steps([("full", answers.first), ("full", answers.second)])[:syncs]
    result = runtime.measure(figures.program, flash, "syncs", *full, heap=figures.heap)
    for sync, found in zip(("first", "second"), result.figures, strict=False):
        figures.times.setdefault(sync, []).append(found["ms"])


def time_lookups(runtime: Runtime, figures: Figures, answers: Answers) -> None:
    """Time lookups in the table that `time_syncs` has left in the flash."""
    flash = runtime.folder / _FLASH
    result = runtime.measure(figures.program, flash, "lookups", answers.codes, heap=figures.heap)
    for found in result.figures:
        figures.times.setdefault("lookup", []).append(found["us"])
