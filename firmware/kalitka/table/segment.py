"""A segment: an immutable sorted file of entries (code, rule set or tombstone).

Blocks, then the interned rule sets, then a sparse index, then a footer; FORMAT.md has the
bytes. Promises: an open segment holds in memory its index (a few bytes a block), its interned
sets and nothing that grows with them otherwise; a lookup is one read of at most 1 KiB and
allocates nothing; a damaged part raises Damaged before anything of it is believed.
"""

from array import array
from struct import pack, unpack

from kalitka.table.block import (
    BLOCK,
    IN_PLACE,
    NO_RULES,
    BlockCursor,
    BlockWriter,
    seal,
    sound,
)
from micropython import const

_MAGIC = b"KSG1"
_FOOTER = "<4sIIIII"  # magic, codes, tombstones, bytes of blocks, of rule sets, of index
_FOOTER_SIZE = const(28)  # with its checksum
_HEAD = const(2)  # bytes of a packed code before its payload

# Rule sets held in memory while a segment is open, in bytes: two hundred schedules fit, and
# whoever has a window of his own (a guest's stay) is stored in place instead.
SETS_MAX = const(3072)
_INTERNED_MAX = const(255)  # bytes; longer ones are too rare to share
_SETS_COUNT_MAX = const(384)  # they take one or two bytes an entry
_HASH = const(512)  # slots: never more than three quarters full
RULE_SET_MAX = const(720)  # bytes; forty of the longest rules. An entry has to fit a block

ABSENT = const(0)
PRESENT = const(1)


class Damaged(OSError):
    """A file of the table is not what was written; the message names it."""


def _separator(below, key):
    # The shortest beginning of `key` that is above `below`: enough to find the block by. Never
    # less than the two head bytes, so that its length less two fits a byte.
    n = 0
    while n < len(below) and below[n] == key[n]:
        n += 1
    return key[: max(n + 1, _HEAD)]


class SegmentWriter:
    """Writes a segment to an open binary file, entry by entry in ascending order."""

    def __init__(self, file):
        self._file = file
        self._block = BlockWriter()
        self._index = bytearray()
        self._sets = bytearray(SETS_MAX)
        self._sets_size = 0
        self._sets_count = 0
        # Open addressing: a set's number plus one, and where it begins, by its hash.
        self._ids = array("H", bytes(2 * _HASH))
        self._starts = array("H", bytes(2 * _HASH))
        self._blocks_size = 0
        self.codes = 0
        self.tombstones = 0

    def add(self, key: bytes, rule_set: bytes | None) -> None:
        """Add an entry. key: packed code (bytes). rule_set: bytes, None for a tombstone."""
        set_id = -1
        if rule_set is None:
            self.tombstones += 1
        else:
            self.codes += 1
            set_id = self._intern(rule_set)
        if not self._block.add(key, rule_set, set_id):
            last = self._block.last
            self._put(self._block.take(True))
            self._block.add(key, rule_set, set_id)
            separator = _separator(last, key)
            self._index.append(len(separator) - _HEAD)
            self._index.extend(separator)

    def finish(self) -> int:
        """Write what is left and the tables behind the blocks. Returns the file's size in bytes.

        The file is left open, flushed by whoever closes it.
        """
        if self._block.last:
            self._put(self._block.take(False))
        sets = seal(self._sets[: self._sets_size])
        index = seal(self._index)
        footer = pack(
            _FOOTER,
            _MAGIC,
            self.codes,
            self.tombstones,
            self._blocks_size,
            len(sets),
            len(index),
        )
        for part in (sets, index, seal(footer)):
            self._file.write(part)
        return self._blocks_size + len(sets) + len(index) + _FOOTER_SIZE

    def _put(self, data):
        self._file.write(data)
        self._blocks_size += len(data)

    def _intern(self, rule_set):
        # Returns the number of the set, -1 if there is no room for it. A table of fixed size
        # instead of a dict: one that grows needs kilobytes in one piece at the worst moment.
        slot = hash(rule_set) % _HASH
        size = len(rule_set)
        while self._ids[slot]:
            at = self._starts[slot]
            if self._sets[at - 1] == size and self._sets[at : at + size] == rule_set:
                return self._ids[slot] - 1
            slot = (slot + 1) % _HASH
        at = self._sets_size + 1
        if size > _INTERNED_MAX or at + size > SETS_MAX or self._sets_count == _SETS_COUNT_MAX:
            return -1
        self._sets[at - 1] = size
        self._sets[at : at + size] = rule_set
        self._sets_size = at + size
        self._sets_count += 1
        self._ids[slot] = self._sets_count
        self._starts[slot] = at
        return self._sets_count - 1


class Segment:
    """An open segment. After `find` returned PRESENT, the rule set is `rules[at:end]`.

    cursor: a BlockCursor that lookups may use; segments of a table share one.
    Raises Damaged if the file cannot be what a writer wrote, OSError if it cannot be read.
    """

    def __init__(self, path: str, cursor: BlockCursor):
        self.name = path[path.rfind("/") + 1 :]
        self._file = open(path, "rb")  # noqa: SIM115 - open for as long as the segment is
        self._cursor = cursor
        self.rules = cursor.buf
        self.at = self.end = 0
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self):
        self.size = self._file.seek(0, 2)
        if self.size < _FOOTER_SIZE:
            raise Damaged("%s is too short" % self.name)
        footer = self._section(self.size - _FOOTER_SIZE, _FOOTER_SIZE)
        magic, self.codes, self.tombstones, blocks, sets, index = unpack(_FOOTER, footer[:-4])
        if magic != _MAGIC or blocks + sets + index + _FOOTER_SIZE != self.size:
            raise Damaged("%s has a wrong footer" % self.name)
        self._blocks_size = blocks
        self.blocks = (blocks + BLOCK - 1) // BLOCK
        self._tail_size = blocks % BLOCK  # bytes of the last block, 0 if it is a whole one
        self._tail = memoryview(self._cursor.buf)[: self._tail_size]
        self._sets = self._section(blocks, sets)
        self._starts = array("H")
        self._ends = array("H")
        at = 0
        while at < sets - 4:
            self._starts.append(at + 1)
            at += 1 + self._sets[at]
            self._ends.append(at)
        self._index = self._section(blocks + sets, index)
        self._separators = array("H")
        at = 0
        while at < index - 4:
            self._separators.append(at)
            at += 1 + _HEAD + self._index[at]

    def close(self) -> None:
        """Close the file. Finding afterwards fails."""
        self._file.close()

    def find(self, key: bytes | bytearray, size: int) -> int:
        """Look up the packed code `key[:size]`: ABSENT, PRESENT, or NO_RULES for a tombstone."""
        if not self.blocks:
            return ABSENT
        cursor = self._cursor
        self._load(self._block_of(key, size), cursor, self._tail)
        while cursor.advance():
            order = cursor.compare(key, size)
            if order > 0:
                return ABSENT
            if order == 0:
                return self._resolve(cursor)
        return ABSENT

    def entries(self):
        """Yield (packed code, rule set or None for a tombstone), ascending, both as bytes.

        Has a block of its own, so that lookups may go on between two entries.
        """
        cursor = BlockCursor(bytearray(BLOCK))
        tail = memoryview(cursor.buf)[: self._tail_size]
        for number in range(self.blocks):
            self._load(number, cursor, tail)
            while cursor.advance():
                key = bytes(cursor.key[: cursor.size])
                if self._resolve(cursor) == NO_RULES:
                    yield key, None
                else:
                    yield key, bytes(self.rules[self.at : self.end])

    def _section(self, at, size):
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) != size or not sound(data):
            raise Damaged("%s has a wrong checksum" % self.name)
        return data

    def _block_of(self, key, size):
        # The number of separators that are not above the key.
        low = 0
        high = len(self._separators)
        while low < high:
            middle = (low + high) >> 1
            if self._above(self._separators[middle], key, size):
                high = middle
            else:
                low = middle + 1
        return low

    def _above(self, at, key, size):
        # Whether the separator at `at` of the index is above the key.
        index = self._index
        length = _HEAD + index[at]
        for i in range(min(length, size)):
            byte = index[at + 1 + i]
            if byte != key[i]:
                return byte > key[i]
        return length > size

    def _load(self, number, cursor, tail):
        # tail: the part of the cursor's buffer that a short last block fills.
        start = number * BLOCK
        try:
            self._file.seek(start)
            size = self._file.readinto(cursor.buf)
        except OSError:
            raise Damaged("block %d of %s cannot be read" % (number, self.name))
        if tail and number == self.blocks - 1:
            # What follows it in the file is not part of it.
            good = size >= self._tail_size and sound(tail)
        else:
            good = size == BLOCK and sound(cursor.buf)
        if not good:
            raise Damaged("block %d of %s has a wrong checksum" % (number, self.name))
        cursor.start()

    def _resolve(self, cursor):
        number = cursor.set_id
        if number == NO_RULES:
            return NO_RULES
        if number == IN_PLACE:
            self.rules = cursor.buf
            self.at = cursor.at
            self.end = cursor.end
            return PRESENT
        self.rules = self._sets
        self.at = self._starts[number]
        self.end = self._ends[number]
        return PRESENT
