"""Times of syncs and lookups. Nothing else should go on meanwhile."""

from bench.answers import Answers
from bench.figures import Figures
from bench.runtime import Runtime, steps

_FLASH = "timed.bin"
# The plain client's longest takes 20 s on a computer with nothing else to do.
_TIMEOUT_S = 180


def time_once(
    runtime: Runtime, figures: Figures, answers: Answers, syncs: int, lookups: bool
) -> None:
    """Time the first so many of: a full sync, one that replaces it, the same one again; then,
    with `lookups`, lookups in the table that these have left.

    Syncs that do not get through may leave no table: `figures.end` then says why, and no lookup
    is timed.
    """
    flash = runtime.new_flash(_FLASH)
    all_of_them = [("full", answers.first), ("full", answers.second), ("full", answers.second)]

    def measure(what: str, *arguments: object) -> list[dict]:
        result = runtime.measure(
            figures.program, flash, what, *arguments, heap=figures.heap, timeout=_TIMEOUT_S
        )
        figures.end = figures.end or result.end
        return result.figures

    timed = measure("syncs", *steps(all_of_them[:syncs]))
    for sync, found in zip(("first", "second", "again"), timed, strict=False):
        figures.times.setdefault(sync, []).append(found["ms"])
    if lookups and not figures.end:
        for found in measure("lookups", answers.codes):
            figures.times.setdefault("lookup", []).append(found["us"])
