"""Machine instructions of syncs and lookups, native code included: the same in every run.

Valgrind counts what one process executes. A step is counted as the difference of two processes,
one that does it and one that does all but it, so that starts and imports cancel out. Times depend
on the computer and on what else it does; these counts depend on the program alone.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.answers import Answers
from bench.runtime import Runtime, steps

MISSING = (
    "valgrind is not here, so instructions are not counted; it comes with "
    "`apt install valgrind` or your system's like"
)
LOOKUPS = ("present", "absent", "present 2", "absent 2")  # as Counts has them
_TOOL = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)")
# Of one process; what takes longer is ended, and the tables say so. The plain client's first sync
# of 50,000 tokens takes 170 s.
_TIMEOUT_S = 300
_TIMES = 3  # that lookups are counted


@dataclass
class Counts:
    """Instructions of one program with one table.

    lines: of a line of the answer, by the sync: `first` into an empty table, `second` over it,
    `again` where nothing changed. lookups: of a lookup: of a code that is `present` or `absent`,
    in one segment and, as `present 2` and `absent 2`, in two. end: "" or why it got no further.
    """

    lines: dict[str, float] = field(default_factory=dict)
    lookups: dict[str, float] = field(default_factory=dict)
    end: str = ""


def available() -> bool:
    """Tell whether instructions can be counted here."""
    return shutil.which(_TOOL[0]) is not None


class Counter:
    """Counts with one program and heap.

    The table lies in plain files of the computer: on a chip the file system is C code, of which
    little is done a line, and a fake of the flash would be most of what is counted of it.
    """

    def __init__(self, runtime: Runtime, program: str, heap: str):
        self._runtime = runtime
        self._program = program
        self._heap = heap

    def syncs(self, found: Answers) -> Counts:
        """Return the instructions a line of all three full syncs, of lookups none."""
        counts = Counts()
        answers = {"first": found.first, "second": found.second, "again": found.second}
        with tempfile.TemporaryDirectory(dir=self._runtime.folder) as folder:
            # Each begins with what the one before has left, and after a poll, as in a reader.
            poll = ("change", found.nothing)
            for sync, answer in answers.items():
                idle = self._measure(folder, counts, "bare", *steps([poll]))
                whole = self._measure(folder, counts, "bare", *steps([poll, ("full", answer)]))
                if counts.end:
                    break
                counts.lines[sync] = (whole - idle) / found.tokens
        return counts

    def lookups(self, found: Answers, counts: Counts) -> None:
        """Count lookups in the table of these answers, then with one code changed in it."""
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
            log.unlink(missing_ok=True)  # what was ended from outside has counted nothing
            return 0
        match = _COUNT.search(log.read_text())
        log.unlink()
        if not match:
            raise RuntimeError(f"valgrind counted nothing of {self._program} {what}")
        return int(match[1].replace(",", ""))
