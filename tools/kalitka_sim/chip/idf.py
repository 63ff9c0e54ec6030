"""The memory of a virtual chip as the IDF manages it, in bytes of a 32-bit machine.

Python's heap begins with one piece of this memory and doubles whenever it is full, by at most the
largest free piece (py/gc.c, gc_try_add_heap). The radio takes its share when it is first used, a
TLS connection while it is open. An allocation that fails raises the chip's own error.

`kalitka_sim.memory_classes` describes the regions. This process has a 64-bit heap of a fixed size;
how full the chip's heap would be is derived from it only at certain moments: when the firmware
collects, switches the radio on, opens a connection, or asks. In between the heap of a chip may
have grown more, and a chip's regions fragment: in both respects this model is too kind.
"""

import errno
import gc
import json
import os

baseline = 0  # bytes of this process's heap in use before the firmware ran
_spec = json.loads(os.getenv("KALITKA_CHIP_MEMORY") or "{}")
machine = _spec.get("machine", "")
build = _spec.get("build", "")
flash_size = _spec.get("flash", 0)
_percent = _spec.get("percent", 100)  # bytes here for 100 of a chip
_regions = [[size, free, free] for size, free in _spec.get("regions", ())]  # last: the least free
_PSRAM = 1 << 20  # a region of at least this size is PSRAM
_INSIDE = 8192  # pieces up to this size are not allocated from PSRAM: the port's sdkconfig
_heap = _spec.get("heap", 0)
_shares = _spec.get("shares", {})  # bytes that network hardware takes, by its name
_USABLE = 97  # per cent of a heap; the rest is the collector's tables
_LEAST = 2048  # the least by which a heap grows
_LWIP = 5000
_STACK = 6656  # bytes of a driver's task
_PACKET = 1600  # bytes of each of its buffers
_started = {}  # network hardware that is on: {name: its allocations}
_connections = []  # (socket, its allocations)
del _spec


def _allocate(sizes):
    # Allocate a piece of each size, or none of them and return None.
    allocated = []
    for size in sizes:
        outside = size > _INSIDE and _regions[-1][0] >= _PSRAM
        for region in reversed(_regions) if outside else _regions:
            if region[1] >= size:
                region[1] -= size
                region[2] = min(region[2], region[1])
                allocated.append((region, size))
                break
        else:
            _release(allocated)
            return None
    return allocated


def _release(allocated):
    for region, size in allocated:
        region[1] += size


_allocate([_heap] if _regions else [])


def _largest():
    return max([region[1] for region in _regions] or [0])


def used():
    """Return the bytes of a chip's Python heap that would be in use, garbage included."""
    return (gc.mem_alloc() - baseline) * 100 // _percent


def free():
    """Return a chip's `gc.mem_free`: the free bytes, and those by which the heap could grow."""
    return max(_heap - used(), 0) + _largest()


def grow():
    """Collect, and let Python's heap grow to the size that its live objects need."""
    global _heap
    gc.collect()
    while used() * 100 > _heap * _USABLE:
        more = min(_largest(), _heap)
        if more < _LEAST:
            break
        _allocate([more])
        _heap += more


def info():
    """Return [(bytes, free, largest free piece, least that was free), ...] of the regions."""
    grow()
    return [(size, left, left, least) for size, left, least in _regions]


def start_hardware(hardware):
    """Take the memory of "wifi" or "ethernet", once and for all. Raises OSError as the port."""
    if hardware in _started or not _regions:
        return
    grow()
    share = _shares[hardware] - _STACK
    pieces = [_STACK] + [_PACKET] * (share // _PACKET) + [share % _PACKET]
    if not _started:
        pieces += [_LWIP // 2, _LWIP // 2]
    # None of it can lie in PSRAM.
    room = sum([region[1] for region in _regions if region[0] < _PSRAM])
    allocated = _allocate(pieces) if room >= sum(pieces) else None
    if allocated is None:
        if hardware == "wifi":
            raise OSError("WiFi Out of Memory")
        raise OSError("esp_eth_driver_install failed")
    _started[hardware] = allocated


def check_certificate():
    """Check that there is room to parse a certificate. Raises ValueError as a chip's TLS does."""
    grow()
    if _regions and _largest() < 2048:
        raise ValueError("invalid cert")


def open_connection(sock):
    """Take the memory of TLS over `sock` until it is closed. Raises OSError as a chip's TLS does.

    On a chip the handshake may also fail in the middle; here it fails at its beginning.
    """
    for entry in _connections[:]:
        if entry[0].fileno() < 0:
            _release(entry[1])
            _connections.remove(entry)
    if not _regions:
        return
    grow()
    allocated = _allocate([16700, 4400, 2900])
    if allocated is None:
        raise OSError(errno.ENOMEM)
    handshake = _allocate([1750, 1750])
    if handshake is None:
        _release(allocated)
        raise OSError(-0x2880, "MBEDTLS_ERR_X509_ALLOC_FAILED")
    _release(handshake)
    _connections.append((sock, allocated))
