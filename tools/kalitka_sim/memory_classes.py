"""The memory classes of a virtual chip: each describes the chips that it stands for.

A chip's figures are in bytes of a 32-bit machine: the IDF's memory before Python's heap is made,
and the initial size of that heap. The process that plays the chip has 64-bit objects and a heap
that cannot grow: `process` bytes for the firmware, the most that its heap could grow to on the
chip. None of this was measured on a chip: the regions of an ESP32 are those of MicroPython's
documentation (`esp32.idf_heap_info`), the rest is a model.
"""

from dataclasses import dataclass

_KIB = 1024
WIFI = 44_000  # bytes that the radio takes: 38,000 to 50,000, by its settings and the traffic
ETHERNET = 15_000  # and the Ethernet driver: 10 KB of buffers, and an estimate for the rest
_ESP32 = ((240, 0), (7288, 0), (16648, 4), (79912, 35512), (15072, 15036), (113840, 113840))

# Bytes of this process's heap for 100 of a chip's, by how the firmware is installed: the idle
# reader's memory with 64 bits over that with 32. Bytecode has the same size, objects have not:
# 160 KiB for 80 with frozen firmware, 151.5 KiB for 107,824 bytes with .mpy files.
_FROZEN = 200
_FILES = 144


@dataclass(frozen=True)
class MemoryClass:
    """The memory of a chip, and of the process that plays it.

    board: its folder of boards/. machine, build: as in `sys.implementation` on such a chip.
    regions: (bytes, free bytes) of each of the IDF's regions, PSRAM last. heap: bytes of Python's
    heap at first. flash: bytes of the flash chip. process: bytes of heap for the firmware here.
    percent: bytes here for 100 of the chip's.
    """

    name: str
    description: str
    board: str
    machine: str
    build: str
    regions: tuple[tuple[int, int], ...]
    heap: int
    process: int
    percent: int
    frozen: bool = False
    flash: int = 4 * _KIB * _KIB

    def as_dict(self) -> dict:
        """Return the description for the chip, which reads it when it starts (chip/idf.py)."""
        return {
            "machine": self.machine,
            "build": self.build,
            "regions": self.regions,
            "heap": self.heap,
            "percent": self.percent,
            "flash": self.flash,
            "shares": {"wifi": WIFI, "ethernet": ETHERNET},
        }


FROZEN_80K = MemoryClass(
    "frozen-80K",
    "an ESP32 without PSRAM, with the firmware frozen into its MicroPython and a heap of 80 KiB "
    "that does not need to grow; here, from ROM on 64 bits, 160 KiB",
    "ESP32_GENERIC",
    "Kalitka reader on ESP32 with ESP32",
    "KALITKA_ESP32",
    _ESP32,
    heap=80 * _KIB,
    process=160 * _KIB,
    percent=_FROZEN,
    frozen=True,
)
PSRAM = MemoryClass(
    "psram",
    "an ESP32 with PSRAM (WROVER, the smallest one of 2 MiB), the stock image for it and the "
    "firmware as .mpy files",
    "ESP32_GENERIC_SPIRAM",
    "Generic ESP32 module with SPIRAM with ESP32",
    "ESP32_GENERIC-SPIRAM",
    (*_ESP32, (2048 * _KIB, 2040 * _KIB)),
    heap=56 * _KIB,
    process=2048 * _KIB * _FILES // 100,
    percent=_FILES,
)
MPY_ON_S3 = MemoryClass(
    "mpy-on-S3",
    "an ESP32-S3 without PSRAM, the stock image and the firmware as .mpy files; it has some 100 "
    "KB more memory than an ESP32. Beside Wi-Fi and TLS its heap can grow to 155 KiB; here, on 64 "
    "bits, 224 KiB",
    "ESP32_GENERIC_S3",
    "Generic ESP32S3 module with ESP32-S3",
    "ESP32_GENERIC_S3",
    ((22_000, 21_000), (345_000, 243_000)),
    heap=64 * _KIB,
    process=224 * _KIB,
    percent=_FILES,
    flash=8 * _KIB * _KIB,
)
PLAIN_STOCK = MemoryClass(
    "plain-stock",
    "an ESP32 without PSRAM, the stock image and the firmware as .mpy files, which do not fit: "
    "the heap takes the memory that Wi-Fi and TLS need. Here the heap is as large as if it could "
    "take all of the chip's memory",
    "ESP32_GENERIC",
    "Generic ESP32 module with ESP32",
    "ESP32_GENERIC",
    _ESP32,
    heap=56 * _KIB,
    process=160 * _KIB * _FILES // 100,
    percent=_FILES,
)
CLASSES = {known.name: known for known in (FROZEN_80K, PSRAM, MPY_ON_S3, PLAIN_STOCK)}
