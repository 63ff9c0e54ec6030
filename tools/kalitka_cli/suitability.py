"""The suitability of a board: the facts that it reported, against the target board.

An unsuitable board is refused before anything is copied, with the numbers found and needed and
with the alternatives.
"""

import json
from dataclasses import dataclass

from kalitka_build.paths import BOARDS
from kalitka_cli.board_probe import BoardInfo
from kalitka_cli.memory_needs import INSTALLS, TLS_PIECE, memory_budget

_PAGE = "boards/{}/README.md"


class UnsuitableBoard(Exception):
    """The board cannot become this reader; the message says why, and what to do instead."""


class InsufficientMemory(UnsuitableBoard):
    """The firmware fits into flash, but the reader would not work."""


@dataclass(frozen=True)
class BoardTarget:
    """The target of a folder of boards/, from its board.json.

    chip: such as ESP32S3; psram: whether the module has PSRAM; image: the name of the stock
    MicroPython, "" for a custom build; ethernet: whether the network is Ethernet. chip and psram
    are None if board.json does not give them.
    """

    name: str
    chip: str | None = None
    psram: bool | None = None
    image: str = ""
    ethernet: bool = False

    @property
    def page(self) -> str:
        """The path of the board's documentation."""
        return _PAGE.format(self.name)


def board_target(name: str) -> BoardTarget:
    """Return the target of the folder of this name."""
    file = BOARDS / name / "board.json"
    said = json.loads(file.read_text()) if file.is_file() else {}
    image, ethernet = said.get("image") or "", bool(said.get("ethernet"))
    return BoardTarget(name, said.get("chip"), said.get("psram"), image, ethernet)


def check_board(board: BoardInfo, target: BoardTarget) -> None:
    """Raise UnsuitableBoard unless the board matches the target."""
    if target.chip and board.chip and board.chip != target.chip:
        raise UnsuitableBoard(
            f"{target.name} is for the chip {target.chip}, but the device has {board.chip} "
            f"({board.machine}); {_suggested_board(board)}"
        )
    if not target.psram or not board.memory or board.memory.psram:
        return
    if board.knows_psram:
        raise UnsuitableBoard(
            f"{target.name} is for a module with PSRAM, but {board.image} finds none on this one; "
            f"use another module or another folder of boards/: boards/README.md lists them"
        )
    image = target.image or "an image with PSRAM"
    raise UnsuitableBoard(
        f"{target.name} is for a module with PSRAM, but the MicroPython on this one "
        f"({board.image}) does not use it; flash {image}, see {target.page}, and deploy again"
    )


def check_memory(board: BoardInfo, install: str, ethernet: bool = False) -> str:
    """Return the memory budget in words, "" if the board did not report its memory.

    install: a key of `memory_needs.INSTALLS`. ethernet: whether the network is Ethernet. Raises
    InsufficientMemory.
    """
    memory = board.memory
    if not memory:
        return ""
    how = INSTALLS[install]
    budget = memory_budget(memory, how, ethernet)
    where = f"PSRAM of {memory.psram // 1024} KiB" if memory.psram else "no PSRAM"
    if memory.psram:
        if how.heap > memory.psram:
            raise InsufficientMemory(
                f"the reader {how.description} needs {how.heap:,} bytes of heap; this board has "
                f"{where}. {_alternatives(board, install)}"
            )
    elif memory.largest < TLS_PIECE:
        raise InsufficientMemory(
            f"TLS needs {TLS_PIECE:,} bytes in one piece; the largest free piece of this board "
            f"({board.chip}, {where}) has {memory.largest:,}. "
            f"{_alternatives(board, install)}"
        )
    if not budget.fits:
        raise InsufficientMemory(
            f"the reader {how.description} does not fit into this board ({board.chip}, "
            f"{where}): it {budget.summary}. {_alternatives(board, install)}"
        )
    much = " (it is tight: see the board's page)" if budget.tight else ""
    return f"memory of {board.chip}, {where}: the reader {how.description} {budget.summary}{much}"


def _alternatives(board: BoardInfo, install: str) -> str:
    with_psram = "a board with PSRAM, see boards/README.md"
    same = [w for w in _board_targets() if w.psram and w.image and w.chip == board.chip]
    if same and not board.knows_psram:
        with_psram += (
            f" (a module that has some already: flash {same[0].image} and deploy with "
            f"--board {same[0].name})"
        )
    without = (w.name for w in _board_targets() if not w.psram and w.chip == board.chip)
    page = _PAGE.format(next(without, "ESP32_GENERIC"))
    if install == "frozen":
        frozen = f"build the image with the heap that the board's page asks for, see {page}"
    else:
        frozen = f"build and flash the image into which the reader is frozen, see {page}"
    return f"Two ways out: (1) {frozen}; (2) {with_psram}"


def _suggested_board(board: BoardInfo) -> str:
    psram = bool(board.memory and board.memory.psram)
    fit = [t.name for t in _board_targets() if t.chip == board.chip and t.psram == psram]
    if fit:
        return f"deploy with --board {fit[0]}"
    return "boards/README.md lists the boards"


def _board_targets() -> list[BoardTarget]:
    return [board_target(path.parent.name) for path in sorted(BOARDS.glob("*/board.py"))]
