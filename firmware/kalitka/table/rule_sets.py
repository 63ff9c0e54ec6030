"""Interned rule sets: thousands of tokens share a few schedules, each stored once, by number.

Promises: memory is fixed; a set that finds no room has no number, and is stored in place instead;
a lookup allocates nothing but its result.
"""

from array import array

from kalitka import sync_native
from micropython import const

# Held in memory while a segment is open: two hundred schedules fit; time windows of a single
# token (a guest's stay) are stored in place.
_BYTES_MAX = const(2048)
COUNT_MAX = const(254)  # a slot of the hash table is a byte
RULE_SET_MAX = const(720)  # bytes: forty of the longest rules. An entry has to fit a block
_SLOTS = const(512)  # of the hash table: never more than three quarters full
_SMALL = const(8)  # the divisor of all sizes at first: most syncs bring few rules


class RuleSets:
    """A set of rule sets, numbered from 0 on. large: whether many are expected.

    tables: the arguments of `sync_native.intern`: arena, slots, starts, counts.
    """

    def __init__(self, large: bool = False):
        self._may_grow = not large
        self._make(1 if large else _SMALL)

    @property
    def room(self) -> int:
        """The most numbers there can be at the present size."""
        return self._counts[3]

    def number(self, rule_set: bytes) -> int:
        """Return the number of a set, a new one if needed; -1 (IN_PLACE) if there is no room."""
        size = len(rule_set)
        self.prepare(size)
        return sync_native.intern(rule_set, 0, size, *self.tables)

    def get(self, number: int) -> bytes:
        """Return rule set `number` (bytes)."""
        begin = self._starts[number]
        return bytes(self._buf[begin + 1 : begin + 1 + self._buf[begin]])

    def prepare(self, size: int) -> None:
        """Make room for the rules of `size` bytes of text or records, as far as possible."""
        count, used, _, room, limit = self._counts
        # Each rule takes four bytes of them or more.
        fits = used + 1 + size <= limit and count + 1 + size // 4 <= room
        if fits or not self._may_grow:
            return
        self._may_grow = False
        arena = self._buf
        try:
            self._make(1)
        except MemoryError:
            # More rule sets are stored in place: the files get larger, no token is lost.
            return
        at = 0
        while at < used:
            # Added in the same order, the sets keep their numbers.
            end = at + 1 + arena[at]
            self.number(bytes(arena[at + 1 : end]))
            at = end

    def _make(self, share):
        # The tables of `sync_native.intern`: the sets, each behind its length; the hash table, of
        # numbers plus one; the offset of each set; and counts and bounds: sets, bytes used, hash
        # mask, most sets, most bytes.
        slots = _SLOTS // share
        room = COUNT_MAX // share
        self.tables = (
            bytearray(_BYTES_MAX // share),
            bytearray(slots),
            array("H", bytes(2 * room)),
            array("H", [0, 0, slots - 1, room, _BYTES_MAX // share]),
        )
        self._buf, _, self._starts, self._counts = self.tables
