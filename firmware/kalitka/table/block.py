"""Blocks of sorted entries, coded as gaps, with a checksum: what segments and runs are made of.

The unit of reading: a lookup reads one of 1 KiB. FORMAT.md has the bytes, `writers` makes them.
Promises: decoding allocates nothing; a block with any bit changed is found out before an entry of
it is used.
"""

from array import array
from binascii import crc32
from struct import pack

from kalitka import native
from micropython import const

BLOCK = const(1024)  # bytes; a quarter of an erase block, and quick to read at the gate
KEY_ROOM = const(258)  # bytes kept for a packed code
NO_KEY = b"\x00"  # below every packed code
HEAD = const(2)  # bytes used by entries, little-endian
CHECK = const(4)
_SIZE_HIGH = const(0x7F)  # of the size's upper byte: a run has a mark in the highest bit
_SHORT = const(7)  # bytes of payload that `native.seek` can do with

# CRC-32 of anything followed by its own CRC-32. It fits a 31-bit integer, so that comparing
# with it allocates nothing where the block is good.
_GOOD = const(0x2144DF1C)

# What stands for the rule set of an entry besides the number of an interned one.
IN_PLACE = const(-1)
TOMBSTONE = const(-2)  # the code is deleted
_LONG_NUMBER = const(240)  # a first byte from here on: the number has a second byte
_SHORT_NUMBERS = const(238)


class CorruptionError(OSError):
    """A file of the table is not what was written; the message names it."""


def crc_ok(data) -> bool:
    """Return whether `data` (bytes-like) ends in the CRC-32 of what stands before."""
    return crc32(data) == _GOOD


def write_with_crc(file, *parts) -> int:
    """Write `parts` and their CRC-32 behind them to a file; return the number of bytes."""
    size = check = 0
    for part in parts:
        file.write(part)
        check = crc32(part, check)
        size += len(part)
    file.write(pack("<I", check))
    return size + CHECK


def number_at(buf, at: int) -> int:
    """Return the number of the rule set that the value at buf[at] tells; IN_PLACE, TOMBSTONE."""
    value = buf[at]
    if value < _LONG_NUMBER:
        return value - 2
    return _SHORT_NUMBERS + (value - _LONG_NUMBER << 8) + buf[at + 1]


def rules_at(buf, at: int) -> bytes:
    """Return the rule set (bytes) that the value at buf[at] has in place."""
    size = buf[at + 1]
    at += 2
    if size >= 0x80:
        size = size & 0x7F | buf[at] << 7
        at += 1
    return bytes(buf[at : at + size])


def fill(view, source: tuple, number: int) -> bool:
    """Fill `view`, of a block's very size, with the block of this number of a source.

    source: blocks of one size, the last of them perhaps shorter, in an open file: (file, its
    name, offset of the first, bytes of all, bytes of one). Returns whether it is whole. Raises
    OSError if it cannot be read.
    """
    source[0].seek(source[2] + number * source[4])
    return source[0].readinto(view) == len(view) and crc32(view) == _GOOD


def read_block(source: tuple, number: int, view) -> None:
    """As `fill`, but raises CorruptionError unless the block is whole."""
    fault = "has a wrong checksum"
    try:
        if fill(view, source, number):
            return
    except OSError:
        fault = "cannot be read"
    raise CorruptionError("the block at %d of %s %s" % (number * source[4], source[1], fault))


class Cursor:
    """Room for one block, and for the code of an entry; the segments of a table share one.

    key: begins with the packed code that is looked up. buf: from KEY_ROOM on the block, which
    `view` is of.
    """

    def __init__(self):
        self.key = bytearray(KEY_ROOM)
        self.buf = bytearray(KEY_ROOM + BLOCK)
        self.view = memoryview(self.buf)[KEY_ROOM:]
        self._state = array("H", [0, 0, 0])

    def find(self, key) -> int:
        """Return where in `buf` the value of a packed code is, in the block just read.

        Returns -1 if there is none, native.MALFORMED if the block is none.
        """
        if key[1] < _SHORT:
            return native.seek(KEY_ROOM, KEY_ROOM + BLOCK, self.buf, key)
        start(self.buf, 0, KEY_ROOM, BLOCK, self._state, 0)
        order = self._seek(key)
        return self._state[2] if order == 0 else min(order, -1)

    def _seek(self, key):
        return native.next_entry(self.buf, 0, KEY_ROOM, self._state, 0, key)


def start(buf, at: int, room: int, block: int, state, s: int) -> None:
    """Go before the first entry of the block at buf[at + room]; see `native.next_entry`."""
    buf[at] = 0
    at += room
    size = buf[at] | (buf[at + 1] & _SIZE_HIGH) << 8
    at += HEAD
    block -= HEAD + CHECK
    state[s] = at
    state[s + 1] = at + (size if size < block else block)
