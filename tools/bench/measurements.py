"""The measurements of one run, in their order.

Times first, with nothing else running. Then the counts, by several workers at once: counts of
bytes and operations do not depend on the computer's other work.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from bench import answers, application, capacity
from bench.access_log import LOGS, LogBench, LogFigures
from bench.answers import Answers
from bench.application_memory import ApplicationMemory, HeapUse, ModuleSize
from bench.capacity import HEAPS, SIZES, Capacity
from bench.figures import Figures
from bench.instructions import Counter, Counts, available
from bench.program_bench import ProgramBench
from bench.runtime import FILES, FLASH, HEAP, KALITKA, KIB, PLAIN, PLENTY, Runtime
from bench.small_machine import Row, SmallMachine
from bench.timing import time_once

SYNCED = 50_000  # tokens of the budgets for syncs
LARGEST = SIZES[-1]
MIB = 1024 * KIB

PIECE = 1024  # bytes of an answer that the firmware parses between two awaits

_RUNS = 3  # of every timed measurement
_WORKERS = 2

# The counts of instructions: (program, in code order, heap), the slowest first.
_COUNTED = ((PLAIN, False, PLENTY), (KALITKA, False, HEAP), (KALITKA, True, HEAP))

# Requirements of the whole application: (tokens held, bytes of flash).
TARGETS = ((LARGEST, FLASH), (SYNCED, MIB))

# (program, size, in code order, heap), each a row of the tables. A file per token is left out at
# the sizes that it does not finish.
_CASES = (
    *((KALITKA, size, order, HEAP) for size in SIZES for order in (False, True)),
    *((PLAIN, size, False, PLENTY) for size in SIZES),
    *((FILES, size, False, HEAP) for size in SIZES[:2]),
)


@dataclass
class Measurements:
    """The results of a run.

    figures: by program, size and order. held: the capacity, by program and heap. readers: the
    whole application, by TARGETS. from_files: the reader of the last target again, with its
    firmware in .mpy files, not in ROM. counts: instructions, by program, size and order; none
    without valgrind. logs: the access log, by program. small: the figures on 32 bits. uses: the
    heap of the whole application, by whether with TLS. modules: the heap of each module. lines:
    the most lines of an answer in a chunk of PIECE bytes.
    """

    figures: dict[tuple[str, int, bool], Figures] = field(default_factory=dict)
    held: dict[tuple[str, str], Capacity] = field(default_factory=dict)
    readers: dict[tuple[int, int], application.ReaderFigures] = field(default_factory=dict)
    from_files: application.ReaderFigures | None = None
    logs: dict[str, LogFigures] = field(default_factory=dict)
    small: list[Row] = field(default_factory=list)
    uses: dict[bool, dict[tuple[int, str], HeapUse]] = field(default_factory=dict)
    modules: list[ModuleSize] = field(default_factory=list)
    counts: dict[tuple[str, int, bool], Counts] = field(default_factory=dict)
    lines: int = 0


@dataclass(frozen=True)
class _Timed:
    # A timed measurement: `runs` runs of the first `syncs` full syncs; the first `lookups` runs
    # also time lookups.
    figures: Figures
    runs: int
    syncs: int
    lookups: int


class BenchRun:
    """A run of the benchmark. progress: called with the name of each measurement."""

    def __init__(self, runtime: Runtime, progress: Callable[[str], None]):
        self._runtime = runtime
        self._progress = progress
        self._answers: dict[tuple[int, bool], Answers] = {}
        self._logs = LogBench(runtime, progress)
        self._measured = Measurements(logs=self._logs.figures)

    def measure(self) -> Measurements:
        """Measure everything."""
        for size in SIZES:
            for order in (False, True):
                folder = self._runtime.folder / f"answers-{size}-{order}"
                self._answers[size, order] = answers.make(folder, size, order)
        measured = self._measured
        measured.lines = _most_lines(self._answers[SYNCED, False])
        for case in _CASES:
            measured.figures[case[:3]] = Figures(*case)
        for size, order in self._answers:
            self._time(size, order)
        self._logs.time(_RUNS)
        self._count()
        return measured

    def _time(self, size: int, order: bool) -> None:
        # The programs take turns, so that a slow minute slows all of them down.
        found = self._answers[size, order]
        for run in range(_RUNS):
            for timed in self._timed(size, order):
                figures = timed.figures
                # A program that failed once would only fail again.
                if run < timed.runs and not figures.end:
                    self._progress(f"{figures.program}, {size} tokens: time")
                    lookups = run < timed.lookups
                    time_once(self._runtime, figures, found, timed.syncs, lookups)

    def _timed(self, size: int, order: bool) -> list[_Timed]:
        # Measurements of minutes are timed less often or not at all; the tables say so.
        known = self._measured.figures
        timed = [_Timed(known[KALITKA, size, order], _RUNS, 3, _RUNS)]
        if order:
            return timed
        if size < SYNCED:
            timed.append(_Timed(known[PLAIN, size, False], _RUNS, 3, _RUNS))
        elif size == SYNCED:
            # The second sync would take as long again and end with the flash full.
            timed.append(_Timed(known[PLAIN, size, False], _RUNS, 1, 1))
        if size == SIZES[0]:
            timed.append(_Timed(known[FILES, size, False], 1, 2, 1))
        return timed

    def _count(self) -> None:
        # The virtual readers mostly wait for their network, so they run beside the others. The
        # longest tasks begin first.
        with ThreadPoolExecutor() as readers, ThreadPoolExecutor(_WORKERS) as others:
            tasks = [readers.submit(self._read, *target) for target in TARGETS]
            tasks += [readers.submit(self._read_from_files, *TARGETS[-1])]
            if available():
                for program, order, heap in _COUNTED:
                    for size in reversed(SIZES):
                        tasks += [
                            others.submit(self._count_instructions, program, size, order, heap)
                        ]
            tasks += [others.submit(self._hold, FILES, HEAPS[0])]
            tasks += [others.submit(self._count_case, case) for case in reversed(_CASES)]
            tasks += [others.submit(self._measure_small)]
            tasks += [others.submit(self._measure_application)]
            tasks += [others.submit(self._logs.count, program) for program in LOGS]
            for program in (PLAIN, KALITKA):
                tasks += [others.submit(self._hold, program, heap) for heap in HEAPS]
            _wait(tasks)

    def _count_case(self, case: tuple[str, int, bool, str]) -> None:
        found = self._measured.figures[case[:3]]
        ProgramBench(self._runtime, found, self._answers[case[1:3]], self._progress).run()

    def _count_instructions(self, program: str, size: int, order: bool, heap: str) -> None:
        self._progress(f"{program}, {size:,} tokens: instructions")
        counter = Counter(self._runtime, program, heap)
        found = self._answers[size, order]
        counts = counter.syncs(found)
        if program == KALITKA and not order:
            counter.lookups(found, counts)
        self._measured.counts[program, size, order] = counts

    def _hold(self, program: str, heap: str) -> None:
        held = capacity.measure_capacity(self._runtime, program, heap, self._progress)
        self._measured.held[program, heap] = held

    def _read(self, size: int, flash: int) -> None:
        folder = self._runtime.folder / f"reader-{size}"
        found = application.run(folder, self._answers[size, False], flash, self._progress)
        self._measured.readers[size, flash] = found

    def _read_from_files(self, size: int, flash: int) -> None:
        folder = self._runtime.folder / f"reader-{size}-files"
        self._measured.from_files = application.run(
            folder, self._answers[size, False], flash, self._progress, in_rom=False
        )

    def _measure_small(self) -> None:
        small = SmallMachine(self._runtime, self._progress)
        self._measured.small = small.rows((SYNCED, LARGEST))

    def _measure_application(self) -> None:
        memory = ApplicationMemory(self._runtime.folder / "application", self._progress)
        found = self._answers[SIZES[0], False]
        self._measured.uses = {secure: memory.use(found, secure) for secure in (False, True)}
        self._measured.modules = memory.modules()


def _wait(tasks: list[Future]) -> None:
    # Wait for all tasks. An exception of one is raised, and the tasks not yet begun are cancelled.
    try:
        for task in tasks:
            task.result()
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _most_lines(found: Answers) -> int:
    # In any of the chunks in which an answer is parsed.
    body = found.first.read_bytes()
    return max(body[at : at + PIECE].count(b"\n") for at in range(0, len(body), PIECE))
