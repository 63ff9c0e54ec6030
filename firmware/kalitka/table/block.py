"""A block of a segment: up to 1 KiB of sorted entries, coded as gaps, with a checksum.

The unit of reading: a lookup reads one. FORMAT.md has the bytes. Promises: decoding allocates
nothing; a block with any bit changed is found out before an entry of it is used.
"""

from binascii import crc32
from struct import pack_into

from kalitka.table import codes
from micropython import const

BLOCK = const(1024)  # bytes; a quarter of an erase block, and quick to read at the gate
_HEAD = const(2)  # bytes used by entries, little-endian
_CHECK = const(4)

# CRC-32 of anything followed by its own CRC-32. It fits a 31-bit integer, so that comparing
# with it allocates nothing where the block is good.
_GOOD = const(0x2144DF1C)

# The value behind a key: a tombstone, a rule set in place, or the number of an interned one.
_TOMBSTONE = const(0)
_INLINE = const(1)
_SHORT_IDS = const(238)  # numbers told in one byte: 2 to 239
_LONG_ID = const(240)  # and above: number 238 + (byte - 240) * 256 + next byte

NO_RULES = const(-1)  # `set_id` of a tombstone
IN_PLACE = const(-2)  # `set_id` of a rule set that stands in the block


def sound(data) -> bool:
    """Tell whether `data` (bytes-like) ends in the CRC-32 of what stands before."""
    return crc32(data) == _GOOD


def seal(data) -> bytearray:
    """Return `data` with its CRC-32 behind it."""
    out = bytearray(data)
    out.extend(bytes(_CHECK))
    pack_into("<I", out, len(data), crc32(data))
    return out


def append_varint(out: bytearray, value: int) -> None:
    """Append a number (0 or more) to a bytearray, seven bits a byte, lowest first."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class BlockWriter:
    """Collects entries in ascending order until the block is full."""

    def __init__(self):
        self._out = bytearray(BLOCK)
        self._used = _HEAD
        self.last = b""  # the last key of the block, packed

    def add(self, key: bytes, rule_set: bytes | None, set_id: int) -> bool:
        """Add an entry. Returns False, adding nothing, if it does not fit into this block.

        key: packed code, above every earlier one. rule_set: bytes, or None for a tombstone.
        set_id: the set's number if it is interned, else -1.
        """
        entry = bytearray()
        last = self.last
        if not last:
            entry.extend(key)
        elif last[:2] == key[:2]:
            gap = int.from_bytes(key[2:], "big") - int.from_bytes(last[2:], "big")
            append_varint(entry, gap)
        else:
            entry.append(0)
            entry.extend(key)
        if rule_set is None:
            entry.append(_TOMBSTONE)
        elif set_id < 0:
            entry.append(_INLINE)
            append_varint(entry, len(rule_set))
            entry.extend(rule_set)
        elif set_id < _SHORT_IDS:
            entry.append(set_id + 2)
        else:
            set_id -= _SHORT_IDS
            entry.append(_LONG_ID + (set_id >> 8))
            entry.append(set_id & 0xFF)
        end = self._used + len(entry)
        if end > BLOCK - _CHECK:
            return False
        self._out[self._used : end] = entry
        self._used = end
        self.last = key
        return True

    def take(self, whole: bool) -> memoryview:
        """Return the finished block and begin the next. `whole`: filled up to BLOCK bytes.

        What is returned is valid until the next `add`.
        """
        out = self._out
        pack_into("<H", out, 0, self._used - _HEAD)
        end = self._used
        if whole:
            while end < BLOCK - _CHECK:
                out[end] = 0xFF
                end += 1
        view = memoryview(out)
        pack_into("<I", out, end, crc32(view[:end]))
        self._used = _HEAD
        self.last = b""
        return view[: end + _CHECK]


class BlockCursor:
    """Walks through the entries of the block in `buf` (bytearray of BLOCK bytes).

    After `advance` returned True: the packed code is `key[:size]`; `set_id` is the number of an
    interned rule set, NO_RULES, or IN_PLACE: then the set is `buf[at:end]`.
    """

    def __init__(self, buf: bytearray):
        self.buf = buf
        self.key = bytearray(codes.PACKED_MAX)
        self.size = 0
        self.set_id = NO_RULES
        self.at = 0
        self.end = 0
        self._next = 0
        self._stop = 0

    def start(self) -> None:
        """Go before the first entry of a block that was just read into `buf`."""
        self.size = 0
        self._next = _HEAD
        self._stop = _HEAD + (self.buf[0] | self.buf[1] << 8)

    def advance(self) -> bool:
        """Move to the next entry; return False behind the last one."""
        at = self._next
        if at >= self._stop:
            return False
        buf = self.buf
        if not self.size:
            at = self._take_key(at)
        elif not buf[at]:
            at = self._take_key(at + 1)
        else:
            at = self._add_gap(at)
        value = buf[at]
        at += 1
        if value == _TOMBSTONE:
            self.set_id = NO_RULES
        elif value == _INLINE:
            self.set_id = IN_PLACE
            length = buf[at] & 0x7F
            if buf[at] >= 0x80:
                at += 1
                length |= buf[at] << 7
            at += 1
            self.at = at
            at += length
            self.end = at
        elif value < _LONG_ID:
            self.set_id = value - 2
        else:
            self.set_id = _SHORT_IDS + (value - _LONG_ID << 8) + buf[at]
            at += 1
        self._next = at
        return True

    def compare(self, key: bytes | bytearray, size: int) -> int:
        """Return less than, equal to or more than 0 as this entry's key is to `key[:size]`."""
        mine = self.key
        for i in range(min(self.size, size)):
            if mine[i] != key[i]:
                return mine[i] - key[i]
        return self.size - size

    def _take_key(self, at):
        size = self.buf[at + 1] + 3
        for i in range(size):
            self.key[i] = self.buf[at + i]
        self.size = size
        return at + size

    def _add_gap(self, at):
        # Adds the varint to the key as one long number, from its last byte on. `carry` holds
        # what is still to be added, aligned to byte i; `bits` of it are known.
        buf = self.buf
        key = self.key
        i = self.size - 1
        carry = bits = 0
        while True:
            byte = buf[at]
            at += 1
            carry += (byte & 0x7F) << bits
            bits += 7
            if bits >= 8:
                carry += key[i]
                key[i] = carry & 0xFF
                carry >>= 8
                bits -= 8
                i -= 1
            if byte < 0x80:
                break
        while carry:
            carry += key[i]
            key[i] = carry & 0xFF
            carry >>= 8
            i -= 1
        return at
