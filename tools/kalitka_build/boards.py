"""The supported boards: the folders of boards/."""

import json
import runpy

from kalitka_build.paths import BOARDS


class BuildError(Exception):
    """The firmware cannot be built; the message says why and what to do."""


def board_names() -> list[str]:
    """Return the sorted names of the boards: the folders of boards/ with a board.json."""
    return sorted(path.parent.name for path in BOARDS.glob("*/board.json"))


def board_description(name: str) -> dict:
    """Return the description of a board: its board.json (see boards/README.md).

    Raises BuildError.
    """
    if name not in board_names():
        raise BuildError(f"there is no board {name!r}; choose one of {', '.join(board_names())}")
    return json.loads((BOARDS / name / "board.json").read_text())


def load_board(name: str) -> dict:
    """Return a board's pins by role (from board.py), with ARCH and flash layout (board.json).

    ARCH: the target of mpy-cross for native code. FLASH_SIZE, VFS_OFFSET, VFS_SIZE: bytes; the
    last two locate the file system of its MicroPython. Raises BuildError.
    """
    description = board_description(name)
    pins = runpy.run_path(str(BOARDS / name / "board.py"))
    tools = ("arch", "flash_size", "vfs_offset", "vfs_size")
    return {**pins, **{key.upper(): description[key] for key in tools}}
