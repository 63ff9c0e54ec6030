"""Writers of blocks and segments: entries in ascending order, coded, with checksums.

FORMAT.md has the bytes, `block` and `segment` read them. Loaded with the first write.
"""

from array import array
from binascii import crc32
from struct import pack, pack_into

from kalitka import sync_native
from kalitka.table.block import (
    BLOCK,
    CHECK,
    HEAD,
    IN_PLACE,
    KEY_ROOM,
    TOMBSTONE,
    write_with_crc,
)
from kalitka.table.rule_sets import RuleSets
from kalitka.table.segment import FOOTER, MAGIC
from micropython import const

_INDEX_PART = const(224)  # bytes of one part of an index under construction


def _append_varint(out: bytearray, value: int) -> None:
    """Append a number (0 or more) to a bytearray as a varint."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class BlockWriter:
    """A block of `size` bytes under construction, filled with entries in ascending order.

    last: the last code of the block, packed; begins with NO_KEY if there is none. assigned: the
    count of rule sets that have numbers in this segment. stopped: why the last `extend` stopped;
    see `sync_native.merge`.
    """

    def __init__(self, size: int):
        self._out = bytearray(size + sync_native.RECORD_MAX)
        self._limit = size - CHECK
        self._used = HEAD
        self.stopped = 0
        self.assigned = 0
        self._marks = array("i", [0] * 11)
        self.last = bytearray(KEY_ROOM)

    def add(self, buf, at: int, number: int, rule_set: bytes) -> bool:
        """Add an entry. Return False, adding nothing, if it does not fit into this block.

        buf, at: the packed code begins at buf[at]; not below any earlier one. number: of the rule
        set; IN_PLACE for `rule_set`, or TOMBSTONE.
        """
        limit = self._limit
        if number == IN_PLACE:
            limit -= len(rule_set) + (1 if len(rule_set) < 0x80 else 2)
        used = sync_native.encode(self._out, self._used, limit, self.last, buf, at, number)
        if not used:
            return False
        if number == IN_PLACE:
            head = bytearray()
            _append_varint(head, len(rule_set))
            head.extend(rule_set)
            self._out[used : used + len(head)] = head
            used += len(head)
        self._used = used
        return True

    def extend(self, stream, own, count: int) -> int:
        """Append up to `count` entries of a stream (see `merge`), as long as they are simple.

        own: array("H") that maps the stream's rule set numbers to those of this segment, plus one;
        0 for a number not assigned yet, which is assigned here. None to copy entries unchanged.
        Returns how many entries were added.
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
        marks[8] = self.assigned
        marks[9] = stream.place
        marks[10] = stream.common
        heap = stream.heap
        self.stopped = sync_native.merge(
            stream.buf, heap, stream.state, stream.keys, self._out, self.last, own or heap, marks
        )
        self._used = marks[3]
        self.assigned = marks[8]
        stream.advance(marks[0], marks[9], self.stopped)
        return count - marks[6]

    def finish(self, whole: bool, more: bool = False) -> memoryview:
        """Return the finished block and begin the next.

        whole: pad the block to its full size. more: the next block of a run begins with the same
        code. The memoryview returned is valid until the next `add` or `extend`.
        """
        out = self._out
        pack_into("<H", out, 0, self._used - HEAD)
        if more:
            out[1] |= sync_native.CONTINUED
        end = self._used
        if whole:
            while end < self._limit:
                out[end] = 0xFF
                end += 1
        view = memoryview(out)
        pack_into("<I", out, end, crc32(view[:end]))
        self._used = HEAD
        self.last[0] = 0
        return view[: end + CHECK]


class SegmentWriter:
    """A segment under construction in an open binary file, entry by entry in ascending order.

    rule_sets: the RuleSets of the numbers given to `add`. Rule sets that are used get new numbers
    in the segment, in the order of their use.
    """

    def __init__(self, file, rule_sets: RuleSets):
        self._file = file
        self._rule_sets = rule_sets
        self._block = BlockWriter(BLOCK)
        self._index = [bytearray()]  # in parts: a large bytearray may find no room to grow
        self._separator = b""
        self._own = array("H")  # by number in `rule_sets`: own number plus one, 0 for none yet
        self._blocks_size = 0
        self.codes = 0
        self.tombstones = 0

    def add(self, buf, at: int, number: int, rule_set: bytes = b"") -> None:
        """Add an entry.

        buf, at: the packed code begins at buf[at]; above every earlier one. number: of its rule
        set; IN_PLACE for `rule_set` (at most RULE_SET_MAX bytes), or TOMBSTONE.
        """
        if number == TOMBSTONE:
            self.tombstones += 1
        else:
            self.codes += 1
            if number >= 0:
                own = self._own_numbers()
                if not own[number]:
                    self._block.assigned += 1
                    own[number] = self._block.assigned
                number = own[number] - 1
        if not self._block.add(buf, at, number, rule_set):
            self._next(buf, at)
            self._block.add(buf, at, number, rule_set)

    def extend(self, stream, count: int) -> int:
        """Append up to `count` entries of a stream, while they are simple; return how many.

        If there were fewer, and the stream is not at its end, pass its next code to `add`.
        """
        added = 0
        while stream.at >= 0 and added < count:
            added += self._block.extend(stream, self._own_numbers(), count - added)
            if self._block.stopped == sync_native.FULL:
                self._next(stream.buf, stream.at)
            elif self._block.stopped > 0:
                break
        self.codes += added
        return added

    def finish(self) -> None:
        """Write the last block, rule sets, index and footer.

        The file is left open: its data is in flash only after the caller has closed it.
        """
        if self._block.last[0]:
            self._put(self._block.finish(False))
        sets = write_with_crc(self._file, self._sets())
        index = write_with_crc(self._file, *self._index)
        footer = pack(FOOTER, MAGIC, self.codes, self.tombstones, self._blocks_size, sets, index)
        write_with_crc(self._file, footer)

    def _next(self, buf, at):
        self._add_separator(buf, at)
        self._put(self._block.finish(True))

    def _put(self, block):
        self._file.write(block)
        self._blocks_size += len(block)

    def _own_numbers(self):
        # Returns `_own`, extended to the room of `rule_sets`, which may have grown.
        missing = self._rule_sets.room - len(self._own)
        if missing:
            self._own.extend(array("H", bytes(2 * missing)))
        return self._own

    def _sets(self):
        # Returns the rule sets in use, in the order of their own numbers, each behind its length.
        numbers = array("H", bytes(2 * self._block.assigned))
        for number in range(len(self._own)):
            if self._own[number]:
                numbers[self._own[number] - 1] = number
        sets = bytearray()
        for number in numbers:
            rule_set = self._rule_sets.get(number)
            sets.append(len(rule_set))
            sets.extend(rule_set)
        return sets

    def _add_separator(self, buf, at):
        # Appends the separator of the next block to the index: the shortest prefix of its first
        # code that is above the last code, coded as the difference from the separator before.
        below = self._block.last
        n = 0
        while below[n] == buf[at + n]:
            n += 1
        separator = bytes(buf[at : at + n + 1])
        last = self._separator
        shared = 0
        while shared < len(last) and shared < n and last[shared] == separator[shared]:
            shared += 1
        rest = n + 1 - shared
        if len(self._index[-1]) > _INDEX_PART:
            self._index.append(bytearray())
        index = self._index[-1]
        if shared < 15 and rest < 16:
            index.append(shared << 4 | rest)
        else:
            index.append(0xF0)
            _append_varint(index, shared)
            _append_varint(index, rest)
        index.extend(separator[shared:])
        self._separator = separator
