"""The access log beside JSON lines in a file: the costs of an entry and of an upload.

Times and flash operations are those of a real LittleFS in memory, of 160 blocks of which the log
may take 128. An upload reads a flash in a file, so that all of the heap is the program's.
"""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.capacity import Capacity, search_limit
from bench.runtime import HEAP, KIB, PLENTY, Runtime

KALITKA_LOG = "kalitka_log"
PLAIN_LOG = "plain_log"
LOGS = (KALITKA_LOG, PLAIN_LOG)

SIZE = 512 * KIB  # of flash for the log
SENT = 20_000  # entries of an upload
FEW = 1000
COUNTED = 20_000  # entries whose flash operations are counted
_MORE = 6000  # entries after the first eviction, which cause further ones
_TIMED = 2000
_FLASH = 640 * KIB
_IN_MEMORY = "4M"
_TIMEOUT_S = 600
_SCRIPT = "measure_log"
_SEARCH = (500, 2, 1.05)

PASSES_A_DAY = 5000
ERASES = 100_000  # the endurance of a flash block
# The most worn block's erases over the mean, with COUNTED at 160,000, which takes minutes. The
# ratio falls with time: LittleFS moves a folder to other blocks only after many erases.
SPREADS = {KALITKA_LOG: 4.0, PLAIN_LOG: 2.3}
_BLOCK = 4096


@dataclass
class LogFigures:
    """The figures of one program's log, which takes SIZE bytes of flash.

    held: the fewest entries in the log once it is full. times: microseconds per entry, of each
    run. entry: flash operations per entry; passed: per entry that is acknowledged at once; mark:
    per acknowledgement. uploads: heap on top of idle and bytes read, by the number of entries
    sent; Kalitka has the heap of a reader there, the plain program as much as it wants. most: the
    entries that the plain program sends with the heap of a reader.
    """

    held: int = 0
    times: list[float] = field(default_factory=list)
    entry: dict[str, float] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)
    mark: dict[str, float] = field(default_factory=dict)
    uploads: dict[int, dict[str, float]] = field(default_factory=dict)
    most: Capacity | None = None

    def micros(self) -> float:
        """Return the median microseconds per entry."""
        return statistics.median(self.times)


def years(program: str, counts: dict[str, float]) -> float:
    """Return the years until the most worn block has had ERASES, at PASSES_A_DAY.

    All erases are on the log's own blocks, spread as in SPREADS.
    """
    worn = counts["erases"] * SPREADS[program] / (SIZE // _BLOCK)
    return ERASES / (worn * PASSES_A_DAY * 365)


class LogBench:
    """The measurements of both programs. progress: called with each step. figures: by program."""

    def __init__(self, runtime: Runtime, progress: Callable[[str], None]):
        self._runtime = runtime
        self._progress = progress
        self.figures = {program: LogFigures() for program in LOGS}

    def time(self, runs: int) -> None:
        """Fill both logs, and time entries in them. Nothing else should run meanwhile."""
        for program, figures in self.figures.items():
            self._runtime.new_flash(self._full(program).name, _FLASH)
            figures.held = self._on_full(program, "fill", _MORE)[0]["held"]
        for _ in range(runs):
            for program, figures in self.figures.items():
                figures.times.append(self._on_full(program, "times", _TIMED)[0]["us"])

    def count(self, program: str) -> None:
        """Count the flash operations in the full log, and measure uploads."""
        figures = self.figures[program]
        figures.entry = self._on_full(program, "appends", COUNTED)[0]
        figures.passed, figures.mark = self._on_full(program, "passes", COUNTED)
        if program == PLAIN_LOG:
            new = self._runtime.new_flash(f"{program}-few.bin", _FLASH)
            figures.uploads[FEW] = self._measure(program, new, "upload", FEW, PLENTY)[0]
            figures.most = search_limit(self._fault_of_upload, *_SEARCH)
            return
        for count in (FEW, SENT):
            sent = self._runtime.folder / f"{program}-sent.bin"
            shutil.copy(self._full(program), sent)
            figures.uploads[count] = self._measure(program, sent, "upload", count, HEAP)[0]

    def _full(self, program: str) -> Path:
        return self._runtime.folder / f"{program}-full.bin"

    def _on_full(self, program: str, what: str, count: int) -> list[dict]:
        return self._measure(program, self._full(program), what, count, _IN_MEMORY)

    def _fault_of_upload(self, count: int) -> str:
        self._progress(f"{PLAIN_LOG}: upload of {count} in a heap of {HEAP}")
        new = self._runtime.new_flash(f"{PLAIN_LOG}-most.bin", _FLASH)
        measure = self._runtime.measure
        return measure(PLAIN_LOG, new, "upload", count, heap=HEAP, script=_SCRIPT).end

    def _measure(self, program: str, flash: Path, what: str, count: int, heap: str) -> list[dict]:
        self._progress(f"{program}: {what} {count}")
        result = self._runtime.measure(
            program, flash, what, count, heap=heap, timeout=_TIMEOUT_S, script=_SCRIPT
        )
        if result.end:
            raise RuntimeError(f"{program} {what} {count}: {result.end}")
        return result.figures
