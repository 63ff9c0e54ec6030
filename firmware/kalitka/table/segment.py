"""A segment: an immutable sorted file of entries (code, rule set or tombstone).

Blocks, then the interned rule sets, then a sparse index, then a footer; FORMAT.md has the
bytes. Promises: an open segment holds in memory its index (three bytes a block, for random
codes), its interned sets and nothing that grows with the tokens otherwise; a lookup is one read
of at most 1 KiB and allocates nothing; a damaged part raises Damaged before anything of it is
believed.
"""

from array import array
from struct import pack, unpack

from kalitka import loops
from kalitka.table.block import (
    BLOCK,
    IN_PLACE,
    NO_RULES,
    BlockWriter,
    Cursor,
    Damaged,
    append_varint,
    number_at,
    place_of,
    read_block,
    size_at,
    sound,
    write_sealed,
)
from kalitka.table.rule_sets import RuleSets
from micropython import const

_MAGIC = b"KSG1"
_FOOTER = "<4sIIIII"  # magic, codes, tombstones, bytes of blocks, of rule sets, of index
_FOOTER_SIZE = const(28)  # with its checksum
_CHECK = const(4)
_INDEX_PART = const(224)  # bytes

ABSENT = const(0)
PRESENT = const(1)


class SegmentWriter:
    """Writes a segment to an open binary file, entry by entry in ascending order.

    rule_sets: the RuleSets that the numbers of `add` are of. Those that are used are numbered
    anew, in the order of their use.
    """

    def __init__(self, file, rule_sets: RuleSets):
        self._file = file
        self._rule_sets = rule_sets
        self._block = BlockWriter(BLOCK)
        self._index = [bytearray()]  # in parts: a large one could find no room to grow
        self._separator = b""
        self._sets = bytearray()
        self._own = array("H")  # own numbers plus one, 0 for none yet
        self._own_count = 0
        self._blocks_size = 0
        self.codes = 0
        self.tombstones = 0

    def add(self, buf, at: int, number: int, rule_set: bytes = b"") -> None:
        """Add an entry.

        buf, at: where its packed code is, above every earlier one. number: of its rule set;
        IN_PLACE for `rule_set` (at most RULE_SET_MAX bytes), or NO_RULES for a tombstone.
        """
        if number == NO_RULES:
            self.tombstones += 1
        else:
            self.codes += 1
            if number >= 0:
                number = (self._own_numbers()[number] or self._number_anew(number)) - 1
        if not self._block.add(buf, at, number, rule_set):
            self._next_block(buf, at)
            self._block.add(buf, at, number, rule_set)

    def pour(self, stream, count: int) -> int:
        """Add at most `count` entries of a stream, as far as it goes fast; return how many.

        With fewer, and the stream not at its end, the next code is for `add`.
        """
        added = 0
        while stream.at >= 0 and added < count:
            added += self._block.pour(stream, self._own_numbers(), count - added)
            if self._block.stopped == loops.FULL:
                self._next_block(stream.buf, stream.at)
            elif self._block.stopped > 0:
                break
        self.codes += added
        return added

    def finish(self) -> int:
        """Write what is left and the tables behind the blocks. Returns the file's size in bytes.

        The file is left open, flushed by whoever closes it.
        """
        if self._block.last[0]:
            self._put(self._block.take(False))
        sets = write_sealed(self._file, self._sets)
        index = write_sealed(self._file, *self._index)
        footer = pack(_FOOTER, _MAGIC, self.codes, self.tombstones, self._blocks_size, sets, index)
        return self._blocks_size + sets + index + write_sealed(self._file, footer)

    def _next_block(self, buf, at):
        self._append_separator(buf, at)
        self._put(self._block.take(True))

    def _put(self, block):
        self._file.write(block)
        self._blocks_size += len(block)

    def _own_numbers(self):
        # As many as there can be numbers: RuleSets grow.
        missing = self._rule_sets.room - len(self._own)
        if missing:
            self._own.extend(array("H", bytes(2 * missing)))
        return self._own

    def _number_anew(self, number):
        rule_set = self._rule_sets.get(number)
        self._sets.append(len(rule_set))
        self._sets.extend(rule_set)
        self._own_count += 1
        self._own[number] = self._own_count
        return self._own_count

    def _append_separator(self, buf, at):
        # The shortest beginning of the next code that is above the last one, told by what it
        # shares with the separator before.
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
            append_varint(index, shared)
            append_varint(index, rest)
        index.extend(separator[shared:])
        self._separator = separator


class Segment:
    """An open segment. After `find` returned PRESENT, the rule set is `rules[at:end]`.

    cursor: a Cursor that lookups may use; segments of a table share one. blocks: a source as of
    `read_block`.
    Raises Damaged if the file cannot be what a writer wrote, OSError if it cannot be read.
    """

    def __init__(self, path: str, cursor: Cursor):
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
        self.blocks = (self._file, self.name, 0, blocks)
        self._last = (blocks - 1) // BLOCK  # the number of the last block
        # Made now, as lookups allocate nothing. What follows that block is not part of it.
        self._tail = self._cursor.view[: blocks - self._last * BLOCK]
        self._sets = self._section(blocks, sets)
        self._index = self._section(blocks + sets, index)

    def close(self) -> None:
        """Close the file. Finding afterwards fails."""
        self._file.close()

    def find(self, key: bytes | bytearray) -> int:
        """Look up the packed code that `key` begins with: ABSENT, PRESENT, or NO_RULES.

        Raises Damaged.
        """
        if self._last < 0:
            return ABSENT
        cursor = self._cursor
        number = loops.block_of(self._index, len(self._index) - _CHECK, key)
        view = self._tail if number == self._last else cursor.view
        read_block(self.blocks, number * BLOCK, view)
        order = cursor.find(key)
        if order == loops.MALFORMED:
            raise Damaged("the block at %d of %s is malformed" % (number * BLOCK, self.name))
        if order:
            return ABSENT
        buf = cursor.buf
        value = cursor.value
        number = number_at(buf, value)
        if number == NO_RULES:
            return NO_RULES
        if number == IN_PLACE:
            self.rules = buf
            self.at = place_of(buf, value)
            self.end = self.at + size_at(buf, value)
            return PRESENT
        begin = self._set_start(number)
        self.rules = self._sets
        self.at = begin + 1
        self.end = self.at + self._sets[begin]
        return PRESENT

    def rule_set(self, number: int) -> bytes:
        """Return the interned rule set (bytes) of a number."""
        begin = self._set_start(number)
        return self._sets[begin + 1 : begin + 1 + self._sets[begin]]

    def rule_sets(self) -> int:
        """Return how many interned rule sets there are."""
        count = at = 0
        while at < len(self._sets) - _CHECK:
            at += 1 + self._sets[at]
            count += 1
        return count

    def _set_start(self, number):
        begin = loops.set_start(self._sets, len(self._sets) - _CHECK, number)
        if begin < 0:
            raise Damaged("%s has no rule set %d" % (self.name, number))
        return begin

    def _section(self, at, size):
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) != size or not sound(data):
            raise Damaged("%s has a wrong checksum" % self.name)
        return data
