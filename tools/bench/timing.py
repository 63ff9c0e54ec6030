"""Times of syncs and lookups. Nothing else should run meanwhile."""

from bench.answers import Answers
from bench.figures import Figures
from bench.runtime import Runtime, steps

_FLASH = "timed.bin"
# The plain client's longest step takes 20 s on an idle computer.
_TIMEOUT_S = 180


def time_once(
    runtime: Runtime, figures: Figures, answers: Answers, syncs: int, lookups: bool
) -> None:
    """Add the times of syncs and, if `lookups`, of lookups in their table to `figures`.

    syncs: how many of a full sync, one that replaces its table, and the same one again. A sync
    that fails may leave no table: then `figures.end` says why, and lookups are not timed.
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
