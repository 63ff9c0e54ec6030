"""Interned rule sets: thousands of tokens share a few schedules, told by a number.

Promises: memory is fixed; what finds no room is stored in place instead; looking a set up
allocates nothing but the answer.
"""

from array import array

from kalitka import sync_native
from micropython import const

# Held in memory while a segment is open: two hundred schedules fit, and whoever has a window of
# his own (a guest's stay) is stored in place.
_BYTES_MAX = const(2048)
COUNT_MAX = const(254)  # a slot of the hash table is a byte
RULE_SET_MAX = const(720)  # bytes; forty of the longest rules. An entry has to fit a block
_SLOTS = const(512)  # of the hash table: never more than three quarters full
_SMALL = const(8)  # at first there is so much less of everything: most syncs bring a few rules


class RuleSets:
    """Rule sets by number, from 0 on. large: whether many are expected.

    tables: what `sync_native.intern` works on.
    """

    def __init__(self, large: bool = False):
        self._may_grow = not large
        self._make(1 if large else _SMALL)

    @property
    def room(self) -> int:
        """How many numbers there can be, as yet."""
        return self._counts[3]

    def number(self, rule_set: bytes) -> int:
        """Return the number of a set, a new one if need be; -1 (IN_PLACE) if there is no room."""
        size = len(rule_set)
        self.prepare(size)
        return sync_native.intern(rule_set, 0, size, *self.tables)

    def get(self, number: int) -> bytes:
        """Return the set (bytes) of a number."""
        begin = self._starts[number]
        return bytes(self._arena[begin + 1 : begin + 1 + self._arena[begin]])

    def prepare(self, size: int) -> None:
        """Make room for the rules of so many bytes of text or records, as far as can be."""
        count, used, _, room, limit = self._counts
        # Four bytes or more each.
        fits = used + 1 + size <= limit and count + 1 + size // 4 <= room
        if fits or not self._may_grow:
            return
        self._may_grow = False
        arena = self._arena
        try:
            self._make(1)
        except MemoryError:
            # Then more rule sets stand in place: larger files, not fewer tokens.
            return
        at = 0
        while at < used:
            # In the same order they get the same numbers.
            end = at + 1 + arena[at]
            self.number(bytes(arena[at + 1 : end]))
            at = end

    def _make(self, share):
        # What `sync_native.intern` works on: the sets, each after its length; the hash table, of
        # numbers plus one; where each set begins; and the counts and bounds.
        slots = _SLOTS // share
        room = COUNT_MAX // share
        self.tables = (
            bytearray(_BYTES_MAX // share),
            bytearray(slots),
            array("H", bytes(2 * room)),
            array("H", [0, 0, slots - 1, room, _BYTES_MAX // share]),
        )
        self._arena, _, self._starts, self._counts = self.tables
