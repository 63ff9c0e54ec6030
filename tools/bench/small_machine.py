"""Heap on a 32-bit machine, as the ESP32 is; see wasm_board. The table is in plain files.

Instructions are counted elsewhere (`instructions`): this machine runs viper code as bytecode.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import answers
from bench.answers import Answers
from bench.runtime import DEVICE, KALITKA, PLAIN, Runtime, compile_script, steps
from kalitka_build.paths import FIRMWARE
from kalitka_sim import wasm_board

_SMALL = 1000  # tokens with which both programs are measured
_SCRIPT = "on_wasm.py"
_HEAP = "2M"  # it is collected between two steps only: it has room for the garbage of a step


@dataclass(frozen=True)
class Row:
    """A figure of Kalitka and of the plain client (None: not measured)."""

    what: str
    kalitka: int
    plain: int | None


class SmallMachine:
    """The measurements on the 32-bit machine, with tables that the 64-bit runtime makes."""

    def __init__(self, runtime: Runtime, progress: Callable[[str], None]):
        self._runtime = runtime
        self._root = runtime.folder / "wasm"
        self._progress = progress
        sources = self._root / "sources"
        wasm_board.put_sources(FIRMWARE, sources)
        for program in (KALITKA, PLAIN):
            shutil.copy(DEVICE / f"{program}.py", sources)
        for source in sources.rglob("*.py"):
            compile_script(source, (self._root / "lib" / source.relative_to(sources)).parent)
        shutil.copy(DEVICE / _SCRIPT, self._root)

    def rows(self, sizes: tuple[int, int]) -> list[Row]:
        """Return all figures. sizes: the tokens of Kalitka's full sync, and of its open table."""
        synced, opened = sizes
        small = self._answers(_SMALL)
        programs = KALITKA, PLAIN
        bare, table, _ = zip(*(self._opened(p, small) for p in programs), strict=True)
        peak = [self._peak(p, small) for p in programs]
        large = self._opened(KALITKA, self._answers(opened))[1]
        return [
            Row("heap of the program, imported", *bare),
            Row(f"heap of the open table, {_SMALL:,} tokens", *table),
            Row(f"heap of the open table, {opened:,} tokens", large, None),
            Row(f"heap of a full sync on top of that, {_SMALL:,} lines", *peak),
            Row(
                f"heap of a full sync on top of that, {synced:,} lines",
                self._peak(KALITKA, self._answers(synced)),
                None,
            ),
        ]

    def _answers(self, count: int) -> Answers:
        return answers.make(self._root / f"answers-{count}", count, in_code_order=False)

    def _run(self, program: str, what: str, path: Path) -> list[int]:
        # Return bytes of heap: the program's, and on top of it the open table's and the peak's.
        self._progress(f"32 bits: {program}: {what}")
        where = f"/{path.relative_to(self._root)}"
        done = wasm_board.run([_SCRIPT, program, what, where], self._root, _HEAP)
        if done.exit:
            raise RuntimeError(f"{program} {what} on 32 bits: {done.output}")
        return [int(size) for size in done.output.split()]

    def _opened(self, program: str, found: Answers) -> list[int]:
        self._fill(program, found)
        return self._run(program, "open", found.codes)

    def _peak(self, program: str, found: Answers) -> int:
        self._empty()
        return self._run(program, "peak", found.first)[2]

    def _empty(self) -> Path:
        data = self._root / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        return data

    def _fill(self, program: str, found: Answers) -> None:
        # The files do not depend on the machine that writes them.
        full = steps([("full", found.first)])
        self._runtime.measure(program, self._empty(), "heap", *full, heap="1M")
