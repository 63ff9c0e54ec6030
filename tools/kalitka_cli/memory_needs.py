"""The memory budget of a reader: what it needs, against what the board reports.

Pure arithmetic in bytes, for 32 bits; nothing here talks to a board. Python and the IDF (Wi-Fi,
lwIP, TLS) share one memory on a chip without PSRAM. A MicroPython heap grows by doubling and so
takes memory that Wi-Fi and TLS ask for later; the budget therefore counts the heap at its grown
size, not at the size that the reader needs.
"""

from dataclasses import dataclass

_KIB = 1024
_PSRAM_MIN = 1024 * _KIB  # bytes: a region this large is PSRAM, no region inside a chip is


@dataclass(frozen=True)
class InstallMethod:
    """A way of installing the firmware on a board.

    description: follows "the reader" in messages. heap: bytes, the smallest Python heap that
    takes a full sync of 10,000 codes and another one that replaces it. idle: bytes in use with a
    TLS connection up.
    """

    description: str
    heap: int
    idle: int


# Measured on 32 bits (MicroPython's unix port, x86, the fakes of the hardware taken off) with the
# firmware of November 2026. Measure anew when the size of the firmware changes.
INSTALLS = {
    "files": InstallMethod("as .mpy files", 149 * _KIB, 94_496),
    "rom": InstallMethod("in a ROM partition", 89 * _KIB, 52_496),
    "frozen": InstallMethod("frozen into MicroPython", 66 * _KIB, 33_296),
}


@dataclass(frozen=True)
class MemoryShare:
    """A part's share of the chip's memory: bytes, at least and at most."""

    least: int
    most: int


# From a model of the IDF's memory, not measured on a chip. TLS: during the handshake, its peak;
# its largest piece is a buffer for one record of 16 KiB.
WIFI = MemoryShare(38_000, 50_000)
ETHERNET = MemoryShare(15_000, 15_000)  # the driver's buffers, and an estimate for the rest
LWIP = MemoryShare(5_000, 5_000)
TLS = MemoryShare(27_500, 27_500)
TLS_PIECE = 16_700

# Bytes that a chip has at least before Python's heap is allocated. With less the network driver
# has its share already; it keeps that over a soft reset.
_BEFORE_HEAP = {"ESP32": 155_000, "ESP32S3": 255_000, "ESP32C6": 255_000}


@dataclass(frozen=True)
class BoardMemory:
    """The memory that a board reported.

    heap: bytes of Python's heap before any growth. regions: (bytes, free bytes, largest free
    piece) of each IDF region, from `esp32.idf_heap_info(esp32.HEAP_DATA)`.
    """

    chip: str
    heap: int
    regions: tuple[tuple[int, int, int], ...]

    @property
    def psram(self) -> int:
        """Bytes of PSRAM that this MicroPython uses, 0 for none."""
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
        """Whether the network driver and lwIP have their share already."""
        return self.shared < _BEFORE_HEAP.get(self.chip, 0)


@dataclass(frozen=True)
class MemoryBudget:
    """The memory that a reader needs, against the memory of the board.

    need: {consumer: (bytes at least, bytes at most)}. have: bytes available to all consumers.
    """

    need: dict[str, tuple[int, int]]
    have: int

    @property
    def fits(self) -> bool:
        """Whether the reader fits if each consumer takes its least."""
        return self._total(0) <= self.have

    @property
    def tight(self) -> bool:
        """Whether the reader fits at the least but not at the most."""
        return self.fits and self._total(1) > self.have

    @property
    def summary(self) -> str:
        """The budget in words."""
        parts = ", ".join(f"{name} {_range(*share)}" for name, share in self.need.items())
        total = _range(self._total(0), self._total(1))
        return f"needs {total} bytes ({parts}), has {self.have:,}"

    def _total(self, which: int) -> int:
        return sum(share[which] for share in self.need.values())


def memory_budget(
    memory: BoardMemory, install: InstallMethod, ethernet: bool = False
) -> MemoryBudget:
    """Return the budget of a reader with TLS, installed this way, including a full sync.

    ethernet: whether the network is Ethernet; otherwise Wi-Fi.
    """
    network = {}
    if not memory.network_on or memory.psram:
        name, share = ("Ethernet", ETHERNET) if ethernet else ("Wi-Fi", WIFI)
        network = {name: (share.least, share.most), "lwIP": (LWIP.least, LWIP.most)}
    if memory.psram:
        # Python and the large pieces of TLS go to PSRAM; the radio needs internal memory.
        return MemoryBudget(network, memory.internal_free)
    heap = heap_after_growth(memory.heap, install.heap)
    python = "Python's heap"
    if heap > memory.heap:
        python += f", doubled from {memory.heap:,} to hold {install.heap:,}:"
    tls = {"a TLS handshake": (TLS.least, TLS.most)}
    return MemoryBudget({python: (heap, heap), **network, **tls}, memory.shared)


def heap_after_growth(heap: int, need: int) -> int:
    """Return the size in bytes to which a heap of `heap` bytes doubles to hold `need` bytes."""
    if heap <= 0:
        return need
    while heap < need:
        heap *= 2
    return heap


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
