"""Blocks of sorted entries, coded as gaps, with a checksum: the parts of segments and runs.

The unit of reading: a lookup reads one block of 1 KiB a segment. FORMAT.md has the bytes,
`writers` makes them. Promises: decoding allocates nothing; a changed bit is detected before any
entry of its block is used.
"""

from array import array
from binascii import crc32
from struct import pack

from kalitka import native
from micropython import const

BLOCK = const(1024)  # bytes; a quarter of an erase block, and quick to read at the gate
KEY_ROOM = const(258)  # bytes kept for a packed code
NO_KEY = b"\x00"  # below every packed code
HEAD = const(2)  # bytes of a block's size field: bytes of entries, little-endian
CHECK = const(4)  # bytes of a CRC-32
_SIZE_HIGH = const(0x7F)  # mask of the size's upper byte: a run has a flag in the highest bit
_SHORT = const(7)  # longest payload, in bytes, that `native.seek` handles

# CRC-32 of any bytes followed by their own CRC-32. It fits a 31-bit integer: a comparison with
# the checksum of a good block allocates nothing.
_GOOD = const(0x2144DF1C)

# The rule set of an entry, if it is not the number of an interned one. The values in flash are
# derived from these numbers (FORMAT.md, Segments): do not renumber.
IN_PLACE = const(-1)
TOMBSTONE = const(-2)  # the code is deleted
_LONG_NUMBER = const(240)  # first bytes from here on: the number has a second byte
_SHORT_NUMBERS = const(238)


class CorruptionError(OSError):
    """A file of the table differs from what was written; the message names the file."""


def crc_ok(data) -> bool:
    """Return whether `data` (bytes-like) ends in the CRC-32 of the bytes before."""
    return crc32(data) == _GOOD


def write_with_crc(file, *parts) -> int:
    """Write `parts` and the CRC-32 of them all to a file; return the number of bytes."""
    size = check = 0
    for part in parts:
        file.write(part)
        check = crc32(part, check)
        size += len(part)
    file.write(pack("<I", check))
    return size + CHECK


def number_at(buf, at: int) -> int:
    """Return the rule set number of the value at buf[at], or IN_PLACE or TOMBSTONE."""
    value = buf[at]
    if value < _LONG_NUMBER:
        return value - 2
    return _SHORT_NUMBERS + (value - _LONG_NUMBER << 8) + buf[at + 1]


def rules_at(buf, at: int) -> bytes:
    """Return the rule set (bytes) of the value at buf[at], which must be IN_PLACE."""
    size = buf[at + 1]
    at += 2
    if size >= 0x80:
        size = size & 0x7F | buf[at] << 7
        at += 1
    return bytes(buf[at : at + size])


def fill(view, source: tuple, number: int) -> bool:
    """Fill `view` with block `number` of a source; return whether the block is whole.

    view: exactly as long as the block. source: blocks of one size, the last of them perhaps
    shorter, in an open file: (file, its name, offset of the first block, bytes of all blocks,
    bytes of one block). Raises OSError if the file cannot be read.
    """
    source[0].seek(source[2] + number * source[4])
    return source[0].readinto(view) == len(view) and crc32(view) == _GOOD


def read_block(source: tuple, number: int, view) -> None:
    """As `fill`, but raise CorruptionError unless the block is whole."""
    fault = "has a wrong checksum"
    try:
        if fill(view, source, number):
            return
    except OSError:
        fault = "cannot be read"
    raise CorruptionError("the block at %d of %s %s" % (number * source[4], source[1], fault))


class Cursor:
    """The buffer of a lookup: a block and the code of an entry; all segments of a table share it.

    key: begins with the packed code that is looked up. buf: has the block from KEY_ROOM on; `view`
    is a memoryview of this part.
    """

    def __init__(self):
        self.key = bytearray(KEY_ROOM)
        self.buf = bytearray(KEY_ROOM + BLOCK)
        self.view = memoryview(self.buf)[KEY_ROOM:]
        self._state = array("H", [0, 0, 0])

    def find(self, key) -> int:
        """Return the offset in `buf` of the value of a packed code, in the block just read.

        Returns -1 if the block does not have the code, native.MALFORMED if it is malformed.
        """
        if key[1] < _SHORT:
            return native.seek(KEY_ROOM, KEY_ROOM + BLOCK, self.buf, key)
        start(self.buf, 0, KEY_ROOM, BLOCK, self._state, 0)
        order = self._seek(key)
        return self._state[2] if order == 0 else min(order, -1)

    def _seek(self, key):
        return native.next_entry(self.buf, 0, KEY_ROOM, self._state, 0, key)


def start(buf, at: int, room: int, block: int, state, s: int) -> None:
    """Set `state` before the first entry of the block at buf[at + room]; see `native.next_entry`.

    block: bytes of the block, with head and checksum. s: offset in `state`.
    """
    buf[at] = 0
    at += room
    size = buf[at] | (buf[at + 1] & _SIZE_HIGH) << 8
    at += HEAD
    block -= HEAD + CHECK
    state[s] = at
    state[s + 1] = at + (size if size < block else block)
