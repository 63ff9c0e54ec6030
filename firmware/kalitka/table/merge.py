"""Sorted streams of entries, and many of them merged into one.

A stream has `buf`; `at`, the offset in `buf` of the current entry's packed code, -1 behind the
last entry; `value`, the offset of the entry's value, coded as in a block; and `next()`. For
`BlockWriter.extend` a stream also has `heap`, `count`, `stride`, `room`, `state`, `keys`, `place`
and `common`, the arguments of `sync_native.merge`, and `advance(count, place, stopped)`, called
with their values after it. Promises: a merge holds one block of each source in memory, whatever
the sources' size.
"""

from array import array

from kalitka import native, sync_native
from kalitka.table.block import (
    BLOCK,
    IN_PLACE,
    KEY_ROOM,
    NO_KEY,
    TOMBSTONE,
    CorruptionError,
    number_at,
    read_block,
    rules_at,
    start,
)
from kalitka.table.rule_sets import RuleSets


class Merge:
    """The stream of all entries of several sources; entries of one code come in any order.

    A heap of the sources, least code first. count: the number of sources. source: a function that
    returns the source of a number, see `block.fill`. buf: the working buffer, a bytearray of
    key + block bytes a source or more. key: bytes kept for a packed code. block: the most bytes of
    a block. common: length of the prefix that all codes share. Raises CorruptionError.

    source: the number of the current entry's source.
    """

    place = 0

    def __init__(self, count: int, source, buf: bytearray, key: int, block: int, common: int = 0):
        self.buf = buf
        self.room = key
        self.stride = key + block
        self.common = common
        self.state = array("H", bytes(6 * count))
        self.heap = array("H", bytes(2 * count))
        self.keys = array("i", bytes(4 * count))
        self.count = 0
        self._source = source
        self._buf = memoryview(buf)
        self._next = array("H", bytes(2 * count))  # the number of a source's next block
        for number in range(count):
            if self._load(number):
                self.heap[self.count] = number
                self.count += 1
        for i in range(self.count // 2 - 1, -1, -1):
            self._sift(i, self.heap[i])
        self._update()

    def next(self) -> None:
        """Go on to the next entry."""
        source = self.source
        self._advance(self._step(source))
        self._update()

    def advance(self, count: int, place: int, stopped: int) -> None:
        """Continue behind the entries that `sync_native.merge` wrote; stopped: its result."""
        self.count = count
        if stopped < 0:
            self._advance(stopped)
        self._update()

    def _step(self, source):
        # Moves the source to its next entry; returns the result of `native.next_entry`.
        at = source * self.stride
        order = native.next_entry(self.buf, at, self.room, self.state, 3 * source, NO_KEY)
        if order > 0:
            self.keys[source] = sync_native.key_of(self.buf, at, self.common)
        return order

    def _advance(self, order):
        # Restores the heap after its least source has moved: to its next entry, or to the end of
        # its block, where the next block is read.
        source = self.heap[0]
        if order == native.MALFORMED:
            self._malformed(source)
        if order < 0 and not self._load(source):
            self.count -= 1
            source = self.heap[self.count]
        if self.count:
            self._sift(0, source)

    def _sift(self, hole, item):
        sync_native.sift(self.buf, self.heap, self.keys, self.count, hole, item, self.stride)

    def _update(self):
        if self.count:
            self.source = self.heap[0]
            self.at = self.source * self.stride
            self.value = self.state[3 * self.source + 2]
        else:
            self.at = -1

    def _load(self, source):
        # Reads the source's next block and moves to its first entry; returns False if there is
        # none.
        at = source * self.stride
        begin = at + self.room
        blocks = self._source(source)
        number = self._next[source]
        size = min(blocks[4], blocks[3] - number * blocks[4])
        if size <= 0:
            return False
        read_block(blocks, number, self._buf[begin : begin + size])
        self._next[source] = number + 1
        start(self.buf, at, self.room, size, self.state, 3 * source)
        if self._step(source) < 0:
            self._malformed(source)
        return True

    def _malformed(self, source):
        raise CorruptionError("a block of %s is malformed" % self._source(source)[1])


class MergedEntries:
    """The merged entries of several segments, code by code: newer segments shadow older ones.

    segments: open, newest first. rule_sets: the RuleSets that number the sets.

    After `next` returned True: `key` begins with the packed code; `number` is the number of its
    rule set, or TOMBSTONE, or IN_PLACE if `rule_set` (bytes) is its rule set.
    """

    def __init__(self, segments: list, rule_sets: RuleSets):
        self.key = bytearray(KEY_ROOM)
        self.number = TOMBSTONE
        self.rule_set = b""
        self._segments = segments
        self._rule_sets = rule_sets
        count = len(segments)
        buf = bytearray(count * (KEY_ROOM + BLOCK))
        self._merge = Merge(count, lambda i: segments[i].blocks, buf, KEY_ROOM, BLOCK)
        # By segment and its number: the number in `rule_sets` plus two, 0 if not looked up yet.
        self._numbers = [array("H", bytes(2 * segment.rule_sets())) for segment in segments]

    def next(self) -> bool:
        """Move to the next code; return False behind the last one. Raises CorruptionError."""
        merge = self._merge
        if merge.at < 0:
            return False
        sync_native.copy_code(merge.buf, merge.at, self.key, 0)
        newest = merge.source
        self._resolve()
        merge.next()
        while merge.at >= 0 and not sync_native.compare(self.key, 0, merge.buf, merge.at):
            # Segments are newest first: the lowest index shadows the others.
            if merge.source < newest:
                newest = merge.source
                self._resolve()
            merge.next()
        return True

    def _resolve(self):
        # Sets `number` and `rule_set` from the current entry.
        merge = self._merge
        number = number_at(merge.buf, merge.value)
        if number >= 0:
            segment = self._segments[merge.source]
            numbers = self._numbers[merge.source]
            if number >= len(numbers) or not numbers[number]:
                # Raises CorruptionError for a number that the segment does not have.
                numbers[number] = self._rule_sets.number(segment.rule_set(number)) + 2
            self.number = numbers[number] - 2
            if self.number == IN_PLACE:
                self.rule_set = segment.rule_set(number)
        else:
            self.number = number
            if number == IN_PLACE:
                self.rule_set = rules_at(merge.buf, merge.value)
                # It may have a number here, even if its writer had none left for it.
                self.number = self._rule_sets.number(self.rule_set)
