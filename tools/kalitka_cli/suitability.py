"""Whether a board can become a reader at all: what it said about itself, against its target.

Says no before anything is copied, with the numbers found and needed and what to do instead.
"""

import json
from dataclasses import dataclass

from kalitka_build.paths import BOARDS
from kalitka_cli.board_probe import BoardInfo
from kalitka_cli.memory_needs import INSTALLS, TLS_PIECE, memory_budget

_PAGE = "boards/{}/README.md"


class UnsuitableBoard(Exception):
    """The board cannot become the reader wanted; the message says why, and what would do."""


class InsufficientMemory(UnsuitableBoard):
    """The firmware could be copied, but the reader would not work."""


@dataclass(frozen=True)
class BoardTarget:
    """The boards that a folder of boards/ is for: its board.json.

    chip: such as ESP32S3, psram: whether the module has PSRAM, image: the name of the stock
    MicroPython for it, "" for one of one's own, ethernet: whether its network is a cable. None
    where the folder does not say.
    """

    name: str
    chip: str | None = None
    psram: bool | None = None
    image: str = ""
    ethernet: bool = False

    @property
    def page(self) -> str:
        """The board's page."""
        return _PAGE.format(self.name)


def board_target(name: str) -> BoardTarget:
    """Return the boards that the folder of this name is for."""
    file = BOARDS / name / "board.json"
    said = json.loads(file.read_text()) if file.is_file() else {}
    image, ethernet = said.get("image") or "", bool(said.get("ethernet"))
    return BoardTarget(name, said.get("chip"), said.get("psram"), image, ethernet)


def check_board(board: BoardInfo, target: BoardTarget) -> None:
    """Raise UnsuitableBoard unless the board is one that the folder is for."""
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
            f"take another module, or another folder of boards/: boards/README.md lists them"
        )
    image = target.image or "an image with PSRAM"
    raise UnsuitableBoard(
        f"{target.name} is for a module with PSRAM, but the MicroPython on this one "
        f"({board.image}) does not use it; flash {image}, see {target.page}, and deploy again"
    )


def check_memory(board: BoardInfo, install: str, ethernet: bool = False) -> str:
    """Return the memory budget in words, "" if the board does not say what it has.

    install: of `memory_needs.INSTALLS`. ethernet: whether its network is a cable. Raises
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
            f"TLS needs {TLS_PIECE:,} bytes in one piece; the largest that this board "
            f"({board.chip}, {where}) has left is {memory.largest:,}. "
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
    return "boards/README.md lists the boards that there are"


def _board_targets() -> list[BoardTarget]:
    return [board_target(path.parent.name) for path in sorted(BOARDS.glob("*/board.py"))]
