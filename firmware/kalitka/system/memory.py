"""Out-of-memory errors in words: which heap, how much of it is free, and what helps.

A chip has two heaps: Python's, and the IDF's beside it, which Wi-Fi, TLS and sockets use.
Promises: every number in a message is measured, none is guessed. Loaded to report an error.
"""

import gc

from micropython import const

_NUMBERS = const(
    (
        12,  # ENOMEM
        105,  # ENOBUFS: the network's own buffers
        0x101,  # ESP_ERR_NO_MEM
        # Of mbedTLS: SSL, ECP, PK, X509, MD and CIPHER_ALLOC_FAILED. By number, because the names
        # that it gives are allocated in Python's heap and may be missing.
        -0x7F00,
        -0x4D80,
        -0x3F80,
        -0x2880,
        -0x5180,
        -0x6180,
    )
)
# Parts of messages, for errors without a number or with a driver's own: the port's messages differ
# between versions. 0x0101 is ESP_ERR_NO_MEM as well.
_WORDS = const(("ALLOC_FAILED", "NO_MEM", "0x0101", "emory"))
_HEAP_DATA = const(4)  # `esp32.HEAP_DATA`
_KIB = const(1024)
_HELP = const("; a board with PSRAM, or the firmware frozen in, has more")


def describe(error: Exception) -> str:
    """Return an out-of-memory error in words, "" if the error is about something else."""
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
    """Return in words that the heap beside Python's does not have `size` bytes in one piece.

    "" if it has, or if the port cannot tell.
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
    # Returns (largest piece, bytes free) of each region of the heap beside Python's.
    try:
        from esp32 import idf_heap_info
    except ImportError:  # a chip without one
        return []
    return [(region[2], region[1]) for region in idf_heap_info(_HEAP_DATA)]
