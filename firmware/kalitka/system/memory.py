"""Want of memory in words: in which heap, how much of it is free, and what helps.

A chip has two: Python's, and the IDF's beside it, of which Wi-Fi, TLS and sockets take theirs.
Promises: every number in a message was looked up. Loaded when there is something to report.
"""

import gc

from micropython import const

_NUMBERS = (
    12,  # ENOMEM
    105,  # ENOBUFS: of the network's own buffers
    0x101,  # ESP_ERR_NO_MEM
    # Of mbedTLS, which has names for its numbers, but makes them in Python's heap: SSL, ECP, PK,
    # X509, MD and CIPHER_ALLOC_FAILED.
    -0x7F00,
    -0x4D80,
    -0x3F80,
    -0x2880,
    -0x5180,
    -0x6180,
)
# Where a driver gives no number, or its own: what the port makes of it differs between versions.
# ESP_ERR_NO_MEM is 0x101, too.
_WORDS = ("ALLOC_FAILED", "NO_MEM", "0x0101", "emory")
_HEAP_DATA = const(4)  # `esp32.HEAP_DATA`
_KIB = const(1024)
_HELP = "; a board with PSRAM, or the firmware frozen in, has more"


def describe(error: Exception) -> str:
    """Describe a lack of memory in words, "" if the error is about something else."""
    if isinstance(error, MemoryError):
        words = "not enough memory in Python's heap"
        if hasattr(gc, "mem_free"):
            words += ": %d KiB are free" % (gc.mem_free() // _KIB)
        # "memory allocation failed, allocating N bytes"
        asked = [word for word in str(error).split() if word.isdigit()]
        if asked:
            words += ", %s bytes in one piece were asked for" % asked[0]
        return words + _HELP
    args = error.args
    told = str(args[-1]) if args else ""
    if args and (args[0] in _NUMBERS or any(word in told for word in _WORDS)):
        return _lacking()
    return ""


def shortage(size: int) -> str:
    """Describe in words that the heap beside Python's has no `size` bytes in one piece.

    "" if it has, or if that cannot be looked up.
    """
    pieces = _pieces()
    return _lacking() if pieces and max(pieces)[0] < size else ""


def _lacking():
    words = "not enough memory outside of Python's heap"
    pieces = _pieces()
    if pieces:
        free = sum([piece[1] for piece in pieces]) // _KIB
        words += ": %d KiB are free, %d in one piece" % (free, max(pieces)[0] // _KIB)
    return words + _HELP


def _pieces():
    # (largest piece, bytes free) of each region of the heap beside Python's.
    try:
        from esp32 import idf_heap_info
    except ImportError:  # a chip without one
        return []
    return [(region[2], region[1]) for region in idf_heap_info(_HEAP_DATA)]
