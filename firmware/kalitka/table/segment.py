"""A segment: an immutable sorted file of entries (code, rule set or tombstone).

Blocks, then the interned rule sets, then a sparse index, then a footer; FORMAT.md has the
bytes and a picture, `writers` makes them. Promises: an open segment holds in memory its index
(three bytes a block, for random codes) and its interned rule sets, and nothing else that grows
with the tokens; a lookup is one read of at most 1 KiB and allocates nothing; damage is detected
before any data of the damaged part is used.
"""

from array import array
from struct import unpack

from kalitka import native
from kalitka.table.block import (
    BLOCK,
    CHECK,
    KEY_ROOM,
    TOMBSTONE,
    CorruptionError,
    Cursor,
    crc_ok,
    fill,
)
from micropython import const

# In flash (FORMAT.md): another layout needs another magic.
MAGIC = b"KSG1"
FOOTER = "<4sIIIII"  # magic, codes, tombstones, bytes of blocks, of rule sets, of index
_FOOTER_SIZE = const(28)  # bytes, with its checksum

ABSENT = const(0)
PRESENT = const(1)
DAMAGED = const(2)


class Segment:
    """An open segment. After `find` returned PRESENT, the rule set is `rules[at:end]`.

    cursor: the Cursor of lookups; the segments of a table share it. blocks: a source, see
    `block.fill`. fault: the damage found last, in words, else "".
    Raises CorruptionError if the file is damaged, OSError if it cannot be read.
    """

    # Functions on the path of a lookup use at most eleven words of locals and stack each: with
    # more, MicroPython allocates heap at each call.

    def __init__(self, path: str, cursor: Cursor):
        self.name = path[path.rfind("/") + 1 :]
        self._file = open(path, "rb")  # noqa: SIM115 - open for as long as the segment is
        self._cursor = cursor
        self.rules = cursor.buf
        self.fault = ""
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self):
        self.size = self._file.seek(0, 2)
        if self.size < _FOOTER_SIZE:
            raise CorruptionError("%s is too short" % self.name)
        footer = self._section(self.size - _FOOTER_SIZE, _FOOTER_SIZE)
        magic, self.codes, self.tombstones, blocks, sets, index = unpack(FOOTER, footer[:-4])
        if magic != MAGIC or blocks + sets + index + _FOOTER_SIZE != self.size:
            raise CorruptionError("%s has a wrong footer" % self.name)
        self.blocks = (self._file, self.name, 0, blocks, BLOCK)
        self._last = (blocks - 1) // BLOCK  # the number of the last block
        # A view as long as the last block, which may be shorter. Made now: lookups allocate
        # nothing.
        self._tail = self._cursor.view[: blocks - self._last * BLOCK]
        self._sets = self._section(blocks, sets)
        self._index = self._section(blocks + sets, index)
        self._index_size = index - CHECK
        self._where = array("H", [KEY_ROOM + BLOCK, sets - CHECK, 0, 0])

    def close(self) -> None:
        """Close the file. Lookups afterwards fail."""
        self._file.close()

    @property
    def at(self) -> int:
        """The offset in `rules` at which the rule set begins."""
        return self._where[2]

    @property
    def end(self) -> int:
        """The offset in `rules` at which the rule set ends."""
        return self._where[3]

    def find(self, key: bytes | bytearray) -> int:
        """Look up the packed code at the start of `key`: return ABSENT, PRESENT or TOMBSTONE.

        Returns DAMAGED if the part needed is damaged or unreadable; `fault` then says why.
        """
        if self._last < 0:
            return ABSENT
        number = native.block_of(self._index, self._index_size, key)
        if not self.read(number):
            return DAMAGED
        value = self._cursor.find(key)
        if value < 0:
            if value == native.MALFORMED:
                return self._fail("the block at %d of %s is malformed", number * BLOCK)
            return ABSENT
        value = native.rules_of(self._cursor.buf, value, self._sets, self._where)
        if value < 0:
            if value == TOMBSTONE:
                return TOMBSTONE
            return self._fail("an entry of the block at %d of %s has no rules", number * BLOCK)
        self.rules = self._sets if value else self._cursor.buf
        return PRESENT

    def read(self, number: int) -> bool:
        """Read block `number`, counted from 0, into the cursor.

        Returns False if the block is damaged or unreadable; `fault` then says why.
        """
        try:
            if self._fill(number):
                return True
        except OSError:
            number = ~number  # inverted: unreadable, see `_fail_at`
        return self._fail_at(number)

    def _fill(self, number):
        return fill(self._tail if number == self._last else self._cursor.view, self.blocks, number)

    def _fail_at(self, number):
        # Sets the fault of a block: a wrong checksum or, with its number inverted, unreadable.
        if number < 0:
            self._fail("the block at %d of %s cannot be read", ~number * BLOCK)
        else:
            self._fail("the block at %d of %s has a wrong checksum", number * BLOCK)
        return False

    def _fail(self, what, at):
        self.fault = what % (at, self.name)
        return DAMAGED

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return self._last + 1

    def rule_set(self, number: int) -> bytes:
        """Return interned rule set `number` (bytes). Raises CorruptionError."""
        begin = native.set_start(self._sets, len(self._sets) - CHECK, number)
        if begin < 0:
            raise CorruptionError("%s has no rule set %d" % (self.name, number))
        return self._sets[begin + 1 : begin + 1 + self._sets[begin]]

    def rule_sets(self) -> int:
        """Return the number of interned rule sets."""
        count = at = 0
        while at < len(self._sets) - CHECK:
            at += 1 + self._sets[at]
            count += 1
        return count

    def _section(self, at, size):
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) != size or not crc_ok(data):
            raise CorruptionError("%s has a wrong checksum" % self.name)
        return data
