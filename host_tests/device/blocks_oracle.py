"""The oracle of blocks and segments, written from FORMAT.md: codes are big integers, blocks lists.

For `encode`, `next_entry`, `seek`, `block_of`, `rules_of` and `set_start` of the native code.
"""

from array import array

from device.guarded import GUARD, GUARDS, Guarded
from kalitka import native, sync_native
from kalitka.table.block import CHECK, HEAD
from kalitka.table.writers import BlockWriter

KEY_ROOM = 258  # bytes: the longest packed code, and one byte more
NO_CODE = b"\x00"  # below every packed code
TOMBSTONE = b"\x00"
END = -1
_BEHIND = b"\x5a" * 300  # the bytes behind a block that is walked through


def varint(value):
    """Return a number as a varint."""
    out = []
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def value_of(number, rule_set=b""):
    """Return the value (bytes) of an entry; FORMAT.md has the table."""
    if number == -2:
        return TOMBSTONE
    if number == -1:
        return b"\x01" + varint(len(rule_set)) + rule_set
    if number < 238:
        return bytes((number + 2,))
    return bytes((240 + (number - 238) // 256, (number - 238) % 256))


def number_of(value):
    """Return the number of a value (bytes); the inverse of `value_of`."""
    return value[0] - 2 if value[0] < 240 else 238 + (value[0] - 240) * 256 + value[1]


def end_of_value(buf, at):
    """Return the offset behind the value at buf[at]."""
    if buf[at] == 1:
        length, at = _read_varint(buf, at + 1)
        return at + length
    return at + (2 if buf[at] >= 240 else 1)


def _read_varint(buf, at):
    value = shift = 0
    while True:
        byte = buf[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def coded(entries):
    """Return the bytes of a block's entries (packed code, value)."""
    parts = []
    last = NO_CODE
    for code, value in entries:
        parts.append(_coded_code(code, last) + value)
        last = code
    return b"".join(parts)


def _coded_code(code, last):
    if last == NO_CODE:
        return code
    if code == last:
        return b"\x00\x00"
    if code[:2] == last[:2]:
        return varint(_payload(code) - _payload(last))
    return b"\x00" + code


def _payload(code):
    return int.from_bytes(code[2:], "big")


def decoded(data, room=KEY_ROOM):
    """Return the entries of a block's bytes, and how they ended: END, MALFORMED or None.

    None: the next bytes are a form that `coded` never makes; their meaning is undefined.
    """
    entries = []
    last = NO_CODE
    at = 0
    while at < len(data):
        try:
            code, at = _decoded_code(data, at, last)
            end = end_of_value(data, at)
        except IndexError:
            return entries, native.MALFORMED
        if code is None or (data[at] == 1 and min(data[at + 1 : at + 3]) > 127):
            return entries, None
        if code == b"" or len(code) > room or end > len(data):
            return entries, native.MALFORMED
        entries.append((code, bytes(data[at:end])))
        at = end
        last = code
    return entries, END


def _decoded_code(data, at, last):
    # Returns the code and the offset behind it; b"" for an impossible code, None for a form that
    # no writer makes.
    if last != NO_CODE and data[at]:
        gap, end = _read_varint(data, at)
        if not data[end - 1]:
            return None, end
        payload = _payload(last) + gap
        if payload >= 1 << 8 * (len(last) - 2):
            return b"", end
        return last[:2] + payload.to_bytes(len(last) - 2, "big"), end
    if last != NO_CODE:
        at += 1
        if not data[at]:
            return last, at + 1
    end = at + data[at + 1] + 3
    if end > len(data):
        return b"", end
    return None if not data[at] else bytes(data[at:end]), end


class GuardedWriter(BlockWriter):
    """The firmware's writer of blocks with `limit` bytes before the checksum, between guards."""

    def __init__(self, limit):
        super().__init__(limit + CHECK)
        self._room = Guarded(limit + sync_native.RECORD_MAX, 0)
        self._key = Guarded(KEY_ROOM, 0)
        self._key.buf[0] = 0
        self._out = self._room.buf
        self.last = self._key.buf

    def entries(self):
        """Return the bytes of entries of the block so far; check the guards."""
        self._room.check()
        self._key.check()
        assert HEAD <= self._used <= self._limit
        return bytes(self._out[HEAD : self._used])


def check_block(entries, limit):
    """Check that entries are coded as in FORMAT.md, and that a walk returns them.

    entries: (packed code, number, rule set in place) in code order; see `value_of`. limit: bytes
    of the block.
    """
    writer = GuardedWriter(limit)
    written = []
    data = b""
    for code, number, rule_set in entries:
        value = value_of(number, rule_set)
        before = bytes(writer.last)
        expected = data + _coded_code(code, written[-1][0] if written else NO_CODE) + value
        fits = HEAD + len(expected) <= limit
        assert writer.add(b"\xff" + code, 1, number, rule_set) == fits, (
            written[-1:],
            code,
            number,
        )
        if not fits:
            assert writer.last == before and writer.entries() == data
            break
        data = writer.entries()
        assert data == expected, (written[-1:], code, number)
        assert writer.last[: len(code)] == code
        written.append((code, value))
    assert decoded(data) == (written, END)
    check_walk(data, written)
    check_seek([e for i, e in enumerate(written) if not i or e[0] != written[i - 1][0]])


class _Block:
    # A block for `next_entry`: room for a code, and the entries behind it, between guards.

    def __init__(self, data, room):
        self._data = data + _BEHIND
        self._room = room
        self._at = GUARD
        self._begin = GUARD + room
        self._end = self._begin + len(data)
        self._buf = bytearray(b"\xa5" * self._begin + self._data)
        self._view = memoryview(self._buf)
        self._state = array("H", [0xA5A5] * 5)
        self.rewind()

    def rewind(self):
        self._buf[self._at] = 0
        self._state[1] = self._begin
        self._state[2] = self._end

    def next_entry(self, key=NO_CODE):
        # Returns the result of `next_entry`, the code and the value.
        buf = self._buf
        state = self._state
        before = state[1]
        order = native.next_entry(buf, self._at, self._room, state, 1, key)
        assert self._view[: self._at] == GUARDS, "written before its room"
        assert self._view[self._begin :] == self._data, "written behind its room"
        assert (state[0], state[2], state[4]) == (0xA5A5, self._end, 0xA5A5)
        if order < 0:
            return order, None, None
        assert before < state[3] < state[1] <= self._end
        end = self._at + buf[self._at + 1] + 3
        return order, bytes(buf[self._at : end]), bytes(buf[state[3] : state[1]])


def check_walk(data, entries):
    """Check walks through the bytes of a block: to its end, and to keys near its codes."""
    block = _Block(data, KEY_ROOM)
    for code, value in entries:
        order, found, found_value = block.next_entry()
        assert order > 0 and (found, found_value) == (code, value)
    assert block.next_entry()[0] == block.next_entry()[0] == END
    for key in _keys_near([code for code, _ in entries]):
        block.rewind()
        above = [entry for entry in entries if entry[0] >= key]
        order, code, value = block.next_entry(key)
        if not above:
            assert order == END, key
            continue
        assert (code, value) == above[0], (key, code)
        assert (order > 0) == (code != key) and order >= 0
        for entry in above[1:3]:
            assert block.next_entry()[1:] == entry


def _sealed(data, begin):
    # Returns a buffer with a block of these bytes at `begin`, up to the buffer's end: with a byte
    # less the block is malformed.
    size = len(data)
    return b"\xa5" * begin + bytes((size % 256, size // 256)) + data + b"\x5a" * 4


def check_seek(entries):
    """Check that `seek` finds the values of codes of at most seven bytes, and of no other keys.

    entries: (packed code, value) in code order, no code twice, as in a segment.
    """
    block = _sealed(coded(entries), 3)
    places = {}
    for n, (code, value) in enumerate(entries):
        places[code] = 5 + len(coded(entries[: n + 1])) - len(value)
    for key in _keys_near(list(places)):
        if len(key) <= 9:
            found = native.seek(3, len(block), block, key)
            assert found == places.get(key, END), (entries, key, found)


def check_seek_of_anything(data, keys):
    """Check that `seek` through arbitrary bytes ends within the block or returns MALFORMED."""
    block = _sealed(bytes(data), 3)
    for key in keys:
        found = native.seek(3, len(block), block, key)
        assert found in (END, native.MALFORMED) or 5 < found < len(block) - 4, (data, key, found)
        assert native.seek(3, len(block) - 1, block, key) == native.MALFORMED


def _keys_near(codes):
    keys = [b"\x01\x00\x00", b"\x05\xfe" + b"\xff" * 255]
    for code in codes[:: 1 + len(codes) // 8]:
        keys.append(code)
        keys.append(code[:-1] + bytes(((code[-1] + 1) % 256,)))
        keys.append(code[:-1] + bytes(((code[-1] - 1) % 256,)))
        if len(code) > 3:
            keys.append(code[:1] + bytes((code[1] - 1,)) + code[2:-1])
        if len(code) < KEY_ROOM - 1:
            keys.append(code[:1] + bytes((code[1] + 1,)) + code[2:] + b"\x00")
    return keys


def check_walk_of_anything(data, room):
    """Check that a walk through arbitrary bytes ends, writes only to its room, detects garbage.

    room: bytes for a code.
    """
    data = bytes(data)
    block = _Block(data, room)
    entries, end = decoded(data, room)
    for code, value in entries:
        order, found, found_value = block.next_entry()
        assert order > 0 and (found, found_value) == (code, value), (data, found, code)
    if end is not None:
        order = block.next_entry()[0]
        assert order == end, (data, order, end)
    for _ in data:
        if block.next_entry()[0] < 0:
            break
    else:
        assert not data
    keys = _keys_near([code for code, _ in entries])[:9]
    for key in keys:
        block.rewind()
        while block.next_entry(key)[0] > 0:
            pass
    check_seek_of_anything(data, [key for key in keys if len(key) <= 9])


def check_block_of(separators, keys):
    """Check `block_of` against a comparison with every separator.

    separators: prefixes of packed codes, ascending, none a prefix of the one before. keys: packed
    codes.
    """
    index = b""
    last = b""
    for separator in separators:
        shared = 0
        while separator[: shared + 1] == last[: shared + 1]:
            shared += 1
        rest = len(separator) - shared
        if shared < 15 and rest < 16:
            index += bytes((16 * shared + rest,))
        else:
            index += b"\xf0" + varint(shared) + varint(rest)
        index += separator[shared:]
        last = separator
    size = len(index)
    index += b"\xff\x01"
    for key in keys:
        expected = sum(separator <= key for separator in separators)
        found = native.block_of(index, size, key + b"\x00\xff")
        assert found == expected, (separators, key, found, expected)


def check_set_start(sets, cut):
    """Check `set_start` of rule sets whose last `cut` bytes are missing."""
    data = b""
    starts = []
    for rule_set in sets:
        starts.append(len(data))
        data += bytes((len(rule_set),)) + rule_set
    size = max(0, len(data) - cut)
    for number, start in enumerate(starts):
        whole = start + 1 + len(sets[number]) <= size
        found = native.set_start(data + b"\x00\x00", size, number)
        assert found == (start if whole else -1), (sets, cut, number, found)
    for number in (len(sets), len(sets) + 1, 400):
        assert native.set_start(data + b"\x00\x00", size, number) == -1
    for number in range(len(sets) + 2):
        whole = number < len(sets) and starts[number] + 1 + len(sets[number]) <= size
        place = array("H", [9, size, 0, 0])
        found = native.rules_of(b"\xff" + value_of(number), 1, data + b"\x00\x00", place)
        assert found == (1 if whole else -1), (sets, cut, number, found)
        if whole:
            assert data[place[2] : place[3]] == sets[number]


def check_rules_in_place(rule_set, room):
    """Check `rules_of` of a tombstone, and of a rule set in place in a buffer of `room` bytes."""
    place = array("H", [0, 0, 0, 0])
    assert native.rules_of(b"\xff" + TOMBSTONE, 1, b"", place) == -2
    buf = b"\xff" + value_of(-1, rule_set) + b"\xff"
    place[0] = room
    found = native.rules_of(buf, 1, b"", place)
    if room < len(buf) - 1:
        assert found == -1
    else:
        assert found == 0 and buf[place[2] : place[3]] == rule_set
