"""The probe of a board: its chip, MicroPython, memory and flash, as the board reports them.

Runs in the same session as the listing of the firmware's files (see `device`). The probe changes
nothing on the board and does not touch the radio, which would keep its memory until a reset.
"""

import re
from dataclasses import dataclass

from kalitka_cli.memory_needs import BoardMemory

# Runs on the device, before anything else that takes memory; prints {"facts": ...}. A fact that
# the MicroPython or its port cannot give is left out. The package is imported from `.frozen` only,
# so that no other copy of it runs.
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
    """The facts that a board reported.

    machine: module and chip as MicroPython names them; build: the name of the image, "" if
    unknown. flash: bytes, 0 if unknown. frozen: the version of the firmware frozen into its
    MicroPython, "" for none. memory: None if unknown.
    """

    machine: str = ""
    build: str = ""
    flash: int = 0
    frozen: str = ""
    memory: BoardMemory | None = None

    @property
    def chip(self) -> str:
        """The chip, such as ESP32S3; "" if it is not an ESP32."""
        found = _CHIP.search(self.machine.rpartition(" with ")[2].replace("-", ""))
        return found[0] if found else ""

    @property
    def image(self) -> str:
        """The MicroPython image in words."""
        return self.build or self.machine or "this MicroPython"

    @property
    def knows_psram(self) -> bool:
        """Whether, by its name, the image uses PSRAM if the module has any."""
        return "SPIRAM" in f"{self.build} {self.machine}".upper()


def parse_board(facts: dict) -> BoardInfo:
    """Return the board that these facts from `PROBE` describe."""
    board = BoardInfo(
        machine=facts.get("machine", ""),
        build=facts.get("build", ""),
        flash=facts.get("flash", 0),
        frozen=facts.get("frozen", ""),
    )
    if "regions" not in facts:
        return board
    regions = tuple((size, free, piece) for size, free, piece in facts["regions"])
    # gc.mem_free() includes the IDF's largest free piece, by which the heap could grow.
    largest = max((piece for _, _, piece in regions), default=0)
    heap = max(facts["heap"] - largest, 0)
    memory = BoardMemory(board.chip, heap, regions)
    return BoardInfo(board.machine, board.build, board.flash, board.frozen, memory)
