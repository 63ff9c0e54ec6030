"""What a board is: its chip, its MicroPython, its memory and flash, in its own words.

Asked in the same session as the firmware's files (see `device`). Nothing is changed on the board,
and the radio is not touched: what it takes can then not be given back before a reset.
"""

import re
from dataclasses import dataclass

from kalitka_cli.memory_needs import BoardMemory

# On the device, before anything else that takes memory: prints {"facts": ...}. What a MicroPython
# or another port does not know is left out. A frozen package is looked for where frozen ones are,
# and nothing else is imported.
PROBE = """
import gc
gc.collect()
facts = {"machine": getattr(it, "_machine", ""), "build": getattr(it, "_build", "")}
facts["heap"] = gc.mem_alloc() + gc.mem_free()
try:
    import esp32
    facts["regions"] = [list(r[:3]) for r in esp32.idf_heap_info(esp32.HEAP_DATA)]
except (ImportError, AttributeError):
    pass
try:
    import esp
    facts["flash"] = esp.flash_size()
except (ImportError, AttributeError):
    pass
known = sys.path[:]
sys.path[:] = [path for path in known if ".frozen" in path]
sys.modules.pop("kalitka", None)
try:
    import kalitka
    facts["frozen"] = kalitka.VERSION
except ImportError:
    pass
sys.path[:] = known
sys.modules.pop("kalitka", None)
print(json.dumps({"facts": facts}))
"""

_CHIP = re.compile(r"ESP32(?:[SCHP]\d+)?")


@dataclass(frozen=True)
class BoardInfo:
    """What a board said about itself.

    machine: its module and chip as MicroPython names them; build: the name of the image, "" if it
    does not say. flash: bytes, 0 if it does not say. frozen: the version of the firmware that is
    frozen into its MicroPython, "" if none is. memory: None if it does not say.
    """

    machine: str = ""
    build: str = ""
    flash: int = 0
    frozen: str = ""
    memory: BoardMemory | None = None

    @property
    def chip(self) -> str:
        """The chip, such as ESP32S3; "" if it is none of that family."""
        found = _CHIP.search(self.machine.rpartition(" with ")[2].replace("-", ""))
        return found[0] if found else ""

    @property
    def image(self) -> str:
        """The MicroPython image in words."""
        return self.build or self.machine or "this MicroPython"

    @property
    def knows_psram(self) -> bool:
        """Whether the image would use PSRAM if there were any, as far as its name says."""
        return "SPIRAM" in f"{self.build} {self.machine}".upper()


def parse_board(facts: dict) -> BoardInfo:
    """Return the board that `PROBE` printed these facts of."""
    board = BoardInfo(
        machine=facts.get("machine", ""),
        build=facts.get("build", ""),
        flash=facts.get("flash", 0),
        frozen=facts.get("frozen", ""),
    )
    if "regions" not in facts:
        return board
    regions = tuple((size, free, piece) for size, free, piece in facts["regions"])
    # What MicroPython calls free has the largest piece of the IDF in it, by which it could grow.
    largest = max((piece for _, _, piece in regions), default=0)
    heap = max(facts["heap"] - largest, 0)
    memory = BoardMemory(board.chip, heap, regions)
    return BoardInfo(board.machine, board.build, board.flash, board.frozen, memory)
