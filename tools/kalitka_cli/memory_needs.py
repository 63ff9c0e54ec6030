"""Whether the reader fits into a board's memory: what it needs, and what the board says it has.

Pure arithmetic over bytes on 32 bits; nothing here asks a board. Python and the IDF (Wi-Fi, lwIP,
TLS) share one memory on a chip without PSRAM. A MicroPython whose heap grows doubles it each time
and takes what Wi-Fi and TLS would ask for later: so the heap is counted as large as it gets, and
not as large as the reader needs it.
"""

from dataclasses import dataclass

_KIB = 1024
_PSRAM_MIN = 1024 * _KIB  # a region this large lies outside of the chip: none inside has so much


@dataclass(frozen=True)
class InstallMethod:
    """A way of installing the firmware on a board.

    description: as in "the reader needs more, ...". heap: bytes, the smallest heap of Python that
    takes a full sync of 10,000 codes and another one that replaces it. idle: bytes in use with a
    TLS connection up.
    """

    description: str
    heap: int
    idle: int


# Measured on 32 bits (MicroPython's unix port, x86, the fakes of the hardware taken off) with the
# firmware of November 2026. Whoever makes the firmware smaller or larger measures anew.
INSTALLS = {
    "files": InstallMethod("as .mpy files", 149 * _KIB, 94_496),
    "rom": InstallMethod("in a ROM partition", 89 * _KIB, 52_496),
    "frozen": InstallMethod("frozen into MicroPython", 66 * _KIB, 33_296),
}


@dataclass(frozen=True)
class MemoryShare:
    """The memory of the chip that one part takes: bytes, at least and at most."""

    least: int
    most: int


# From a model of the IDF's memory, not seen on a chip. TLS: while it shakes hands, when it takes
# most; its largest piece is a buffer for one record of 16 KiB.
WIFI = MemoryShare(38_000, 50_000)
ETHERNET = MemoryShare(15_000, 15_000)  # the driver's buffers, and an estimate for the rest
LWIP = MemoryShare(5_000, 5_000)
TLS = MemoryShare(27_500, 27_500)
TLS_PIECE = 16_700

# What a chip has before Python's heap is made, at least: if less is left, the network's hardware
# has its share already, which it keeps over a soft reset.
_BEFORE_HEAP = {"ESP32": 155_000, "ESP32S3": 255_000, "ESP32C6": 255_000}


@dataclass(frozen=True)
class BoardMemory:
    """What a board said about its memory.

    heap: bytes of Python's heap before it has grown. regions: (bytes, free bytes, largest free
    piece) of each region that the IDF manages, as `esp32.idf_heap_info(esp32.HEAP_DATA)` gives
    them.
    """

    chip: str
    heap: int
    regions: tuple[tuple[int, int, int], ...]

    @property
    def psram(self) -> int:
        """Bytes of PSRAM that this MicroPython uses, 0 if it uses none."""
        return sum(size for size, _, _ in self.regions if size >= _PSRAM_MIN)

    @property
    def internal_free(self) -> int:
        """Bytes free in the chip itself."""
        return sum(free for size, free, _ in self.regions if size < _PSRAM_MIN)

    @property
    def largest(self) -> int:
        """Bytes of the largest free piece, PSRAM included."""
        return max((piece for _, _, piece in self.regions), default=0)

    @property
    def shared(self) -> int:
        """Bytes that Python and the IDF share on a chip without PSRAM."""
        return self.internal_free + self.heap

    @property
    def network_on(self) -> bool:
        """Whether the network's hardware, and lwIP, have their share already."""
        return self.shared < _BEFORE_HEAP.get(self.chip, 0)


@dataclass(frozen=True)
class MemoryBudget:
    """The memory that a reader needs, against what the board has.

    need: {what needs it: (bytes at least, bytes at most)}. have: bytes that there are for these.
    """

    need: dict[str, tuple[int, int]]
    have: int

    @property
    def fits(self) -> bool:
        """Whether it fits if each takes the least that it does."""
        return self._total(0) <= self.have

    @property
    def tight(self) -> bool:
        """Whether it fits only if each takes the least that it does."""
        return self.fits and self._total(1) > self.have

    @property
    def summary(self) -> str:
        """The sum in words."""
        parts = ", ".join(f"{name} {_range(*share)}" for name, share in self.need.items())
        total = _range(self._total(0), self._total(1))
        return f"needs {total} bytes ({parts}), has {self.have:,}"

    def _total(self, which: int) -> int:
        return sum(share[which] for share in self.need.values())


def memory_budget(
    memory: BoardMemory, install: InstallMethod, ethernet: bool = False
) -> MemoryBudget:
    """Return what a reader with TLS needs, so installed, a full sync included.

    ethernet: whether its network is a cable; otherwise it is Wi-Fi.
    """
    network = {}
    if not memory.network_on or memory.psram:
        name, share = ("Ethernet", ETHERNET) if ethernet else ("Wi-Fi", WIFI)
        network = {name: (share.least, share.most), "lwIP": (LWIP.least, LWIP.most)}
    if memory.psram:
        # Python, and the large pieces of TLS, lie in PSRAM; the radio cannot.
        return MemoryBudget(network, memory.internal_free)
    heap = heap_after_growth(memory.heap, install.heap)
    python = "Python's heap"
    if heap > memory.heap:
        python += f", doubled from {memory.heap:,} to hold {install.heap:,}:"
    tls = {"a TLS handshake": (TLS.least, TLS.most)}
    return MemoryBudget({python: (heap, heap), **network, **tls}, memory.shared)


def heap_after_growth(heap: int, need: int) -> int:
    """Return the bytes of a heap that began with `heap` when it holds `need`: it doubles."""
    if heap <= 0:
        return need
    while heap < need:
        heap *= 2
    return heap


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
