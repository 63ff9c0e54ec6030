"""Blocks of sorted entries, coded as gaps, with a checksum: what segments and runs are made of.

The unit of reading: a lookup reads one of 1 KiB. FORMAT.md has the bytes. Promises: decoding
allocates nothing; a block with any bit changed is found out before an entry of it is used.
"""

from array import array
from binascii import crc32
from struct import pack, pack_into

from kalitka import loops
from micropython import const

BLOCK = const(1024)  # bytes; a quarter of an erase block, and quick to read at the gate
KEY_ROOM = const(258)  # bytes kept for a packed code
NO_KEY = b"\x00"  # below every packed code
_HEAD = const(2)  # bytes used by entries, little-endian
_CHECK = const(4)

# CRC-32 of anything followed by its own CRC-32. It fits a 31-bit integer, so that comparing
# with it allocates nothing where the block is good.
_GOOD = const(0x2144DF1C)

# What stands for the rule set of an entry besides the number of an interned one.
IN_PLACE = const(-1)
NO_RULES = const(-2)  # a tombstone
_LONG_NUMBER = const(240)  # a first byte from here on: the number has a second byte
_SHORT_NUMBERS = const(238)


class Damaged(OSError):
    """A file of the table is not what was written; the message names it."""


def sound(data) -> bool:
    """Tell whether `data` (bytes-like) ends in the CRC-32 of what stands before."""
    return crc32(data) == _GOOD


def write_sealed(file, *parts) -> int:
    """Write `parts` and their CRC-32 behind them to a file; return the number of bytes."""
    size = check = 0
    for part in parts:
        file.write(part)
        check = crc32(part, check)
        size += len(part)
    file.write(pack("<I", check))
    return size + _CHECK


def append_varint(out: bytearray, value: int) -> None:
    """Append a number (0 or more) to a bytearray, seven bits a byte, lowest first."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def number_at(buf, at: int) -> int:
    """Return the number of the rule set that the value at buf[at] tells; IN_PLACE, NO_RULES."""
    value = buf[at]
    if value < _LONG_NUMBER:
        return value - 2
    return _SHORT_NUMBERS + (value - _LONG_NUMBER << 8) + buf[at + 1]


def place_of(buf, at: int) -> int:
    """Return where the rule set begins that the value at buf[at] has in place; see `size_at`."""
    return at + 2 if buf[at + 1] < 0x80 else at + 3


def size_at(buf, at: int) -> int:
    """Return the length in bytes of the rule set that the value at buf[at] has in place."""
    size = buf[at + 1]
    return size if size < 0x80 else size & 0x7F | buf[at + 2] << 7


def rules_at(buf, at: int) -> bytes:
    """Return the rule set (bytes) that the value at buf[at] has in place."""
    begin = place_of(buf, at)
    return bytes(buf[begin : begin + size_at(buf, at)])


class BlockWriter:
    """Collects entries in ascending order until a block of `size` bytes is full.

    last: the last code of the block, packed; begins with NO_KEY if there is none.
    """

    def __init__(self, size: int):
        self._out = bytearray(size + loops.RECORD_MAX)
        self._limit = size - _CHECK
        self._used = _HEAD
        self.stopped = 0
        self._marks = array("i", [0] * 8)
        self.last = bytearray(KEY_ROOM)

    def add(self, buf, at: int, number: int, rule_set: bytes) -> bool:
        """Add an entry. Returns False, adding nothing, if it does not fit into this block.

        buf, at: where the packed code is, not below any earlier one. number: of the rule set;
        IN_PLACE for `rule_set`, or NO_RULES.
        """
        limit = self._limit
        if number == IN_PLACE:
            limit -= len(rule_set) + (1 if len(rule_set) < 0x80 else 2)
        used = loops.entry(self._out, self._used, limit, self.last, buf, at, number)
        if not used:
            return False
        if number == IN_PLACE:
            head = bytearray()
            append_varint(head, len(rule_set))
            head.extend(rule_set)
            self._out[used : used + len(head)] = head
            used += len(head)
        self._used = used
        return True

    def pour(self, stream, own, count: int) -> int:
        """Take at most `count` entries from a stream (see `merge`), as far as it goes fast.

        own: array("H"): the number plus one that the rule set of a number has here, 0 if it has
        none yet; None to take entries as they are. Returns how many were taken. What stopped it
        is then in `stopped`: see `loops.flow`.
        """
        marks = self._marks
        marks[0] = stream.count
        marks[1] = stream.stride
        marks[2] = stream.room
        marks[3] = self._used
        marks[4] = self._limit
        marks[5] = own is None
        marks[6] = count
        marks[7] = len(own or ())
        self.stopped = loops.flow(
            stream.buf, stream.heap, stream.state, self._out, self.last, own or stream.heap, marks
        )
        self._used = marks[3]
        stream.flowed(marks[0], self.stopped)
        return count - marks[6]

    def take(self, whole: bool) -> memoryview:
        """Return the finished block and begin the next. `whole`: filled up to its full size.

        What is returned is valid until the next `add`.
        """
        out = self._out
        pack_into("<H", out, 0, self._used - _HEAD)
        end = self._used
        if whole:
            while end < self._limit:
                out[end] = 0xFF
                end += 1
        view = memoryview(out)
        pack_into("<I", out, end, crc32(view[:end]))
        self._used = _HEAD
        self.last[0] = 0
        return view[: end + _CHECK]


def read_block(source: tuple, at: int, view) -> None:
    """Fill `view`, of the block's very size, with the block that begins `at` bytes into a source.

    source: blocks of one size, the last of them perhaps shorter, in an open file: (file, its
    name, offset of the first, bytes of all). Raises Damaged.
    """
    file, name, begin, _ = source
    try:
        file.seek(begin + at)
        size = file.readinto(view)
    except OSError:
        raise Damaged("the block at %d of %s cannot be read" % (at, name))
    if size != len(view) or not sound(view):
        raise Damaged("the block at %d of %s has a wrong checksum" % (at, name))


class Cursor:
    """Room for one block and the entry that a lookup has come to; segments share one.

    buf: the packed code of the entry, and from KEY_ROOM on the block. value: where in buf the
    entry's value is.
    """

    def __init__(self):
        self.buf = bytearray(KEY_ROOM + BLOCK)
        self.view = memoryview(self.buf)[KEY_ROOM:]
        self._state = array("H", [0, 0, 0])

    def find(self, key) -> int:
        """Go to the entry of a packed code in the block just read: 0 if there is one.

        Returns loops.MALFORMED if the block is none.
        """
        start(self.buf, 0, KEY_ROOM, BLOCK, self._state, 0)
        return loops.walk(self.buf, 0, KEY_ROOM, self._state, 0, key)

    @property
    def value(self) -> int:
        """Where in `buf` the value of the entry is that was found."""
        return self._state[2]


def start(buf, at: int, room: int, block: int, state, s: int) -> None:
    """Go before the first entry of the block at buf[at + room]; see `loops.walk`."""
    begin = at + room
    size = buf[begin] | buf[begin + 1] << 8
    buf[at] = 0
    state[s] = begin + _HEAD
    state[s + 1] = begin + _HEAD + min(size, block - _HEAD - _CHECK)
