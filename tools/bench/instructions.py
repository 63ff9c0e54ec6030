"""Machine instructions of syncs and lookups, native code included: the same in every run.

Valgrind counts the instructions of a process. The count of a step is the difference of two
processes, one with the step and one without, so that starts and imports cancel out. Times depend
on the computer and its other work; these counts depend on the program alone.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.answers import Answers
from bench.runtime import Runtime, steps

MISSING = (
    "instructions are not counted, because valgrind is not installed: use "
    "`apt install valgrind` or your system's package manager"
)
LOOKUPS = ("present", "absent", "present 2", "absent 2")  # the keys of Counts.lookups
_TOOL = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)")
# Of one process; a longer one is ended, and the tables say so. The plain client's first sync of
# 50,000 tokens takes 170 s.
_TIMEOUT_S = 300
_TIMES = 3  # repetitions of the lookups that are counted


@dataclass
class Counts:
    """The instructions of one program with one table.

    lines: per line of the answer, by sync: `first` into an empty table, `second` replacing it,
    `again` without changes. lookups: per lookup of a code that is `present` or `absent`, in one
    segment and, as `present 2` and `absent 2`, in two. end: "" or why the counting stopped early.
    """

    lines: dict[str, float] = field(default_factory=dict)
    lookups: dict[str, float] = field(default_factory=dict)
    end: str = ""


def available() -> bool:
    """Return whether instructions can be counted on this computer."""
    return shutil.which(_TOOL[0]) is not None


class Counter:
    """A counter of the instructions of one program with one heap.

    The table is in plain files of the computer: on a chip the file system is C code that does
    little work per line, and most of the instructions counted for it here would be those of the
    flash's fake.
    """

    def __init__(self, runtime: Runtime, program: str, heap: str):
        self._runtime = runtime
        self._program = program
        self._heap = heap

    def syncs(self, found: Answers) -> Counts:
        """Return the instructions per line of all three full syncs, and no lookups."""
        counts = Counts()
        answers = {"first": found.first, "second": found.second, "again": found.second}
        with tempfile.TemporaryDirectory(dir=self._runtime.folder) as folder:
            # Each sync begins with the table that the previous one left, and after a poll, as in a
            # reader.
            poll = ("change", found.nothing)
            for sync, answer in answers.items():
                idle = self._measure(folder, counts, "bare", *steps([poll]))
                whole = self._measure(folder, counts, "bare", *steps([poll, ("full", answer)]))
                if counts.end:
                    break
                counts.lines[sync] = (whole - idle) / found.tokens
        return counts

    def lookups(self, found: Answers, counts: Counts) -> None:
        """Add the lookups in the table of these answers, and again after a change of one code."""
        with tempfile.TemporaryDirectory(dir=self._runtime.folder) as folder:
            changes = ("full", found.second), ("change", found.one)
            for segments, change in zip(("", " 2"), changes, strict=True):
                self._run_uncounted(folder, counts, *steps([change]))
                for kind, codes in (("present", found.codes), ("absent", found.absent)):
                    once, more = (
                        self._measure(folder, counts, "bare_lookups", codes, times, kind)
                        for times in (1, 1 + _TIMES)
                    )
                    if counts.end:
                        return
                    each = len(codes.read_text().split()) * _TIMES
                    counts.lookups[kind + segments] = (more - once) / each

    def _run_uncounted(self, folder: str, counts: Counts, *arguments: object) -> None:
        result = self._runtime.measure(
            self._program, Path(folder), "bare", *arguments, heap=self._heap, timeout=_TIMEOUT_S
        )
        counts.end = counts.end or result.end

    def _measure(self, folder: str, counts: Counts, what: str, *arguments: object) -> int:
        if counts.end:
            return 0
        log = Path(f"{folder}.valgrind")
        result = self._runtime.measure(
            self._program,
            Path(folder),
            what,
            *arguments,
            heap=self._heap,
            timeout=_TIMEOUT_S,
            wrapper=(*_TOOL, f"--log-file={log}"),
        )
        counts.end = result.end
        if counts.end:
            log.unlink(missing_ok=True)  # a process that was killed leaves no count
            return 0
        match = _COUNT.search(log.read_text())
        log.unlink()
        if not match:
            raise RuntimeError(f"valgrind counted nothing of {self._program} {what}")
        return int(match[1].replace(",", ""))
