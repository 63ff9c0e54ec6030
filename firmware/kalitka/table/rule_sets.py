"""Interned rule sets: thousands of tokens share a few schedules, told by a number.

Promises: memory is fixed; what finds no room is stored in place instead; looking a set up
allocates nothing but the answer.
"""

from array import array

from kalitka import loops
from micropython import const

# Held in memory while a segment is open: two hundred schedules fit, and whoever has a window of
# his own (a guest's stay) is stored in place.
BYTES_MAX = const(3072)
COUNT_MAX = const(384)  # they take one or two bytes an entry
RULE_SET_MAX = const(720)  # bytes; forty of the longest rules. An entry has to fit a block
_SLOTS = const(512)  # of the hash table: never more than three quarters full


class RuleSets:
    """Rule sets by number, from 0 on."""

    def __init__(self):
        # What `loops.number_of` works on: the sets, each after its length; the hash table, of
        # numbers plus one; where each set begins; and the counts and bounds.
        self._arena = bytearray(BYTES_MAX)
        self._slots = array("H", bytes(2 * _SLOTS))
        self._starts = array("H", bytes(2 * COUNT_MAX))
        self._counts = array("H", [0, 0, _SLOTS - 1, COUNT_MAX, BYTES_MAX])

    def number(self, rule_set: bytes) -> int:
        """Return the number of a set, a new one if need be; -1 (IN_PLACE) if there is no room."""
        return loops.number_of(
            rule_set, 0, len(rule_set), self._arena, self._slots, self._starts, self._counts
        )

    def get(self, number: int) -> bytes:
        """Return the set (bytes) of a number."""
        begin = self._starts[number]
        return bytes(self._arena[begin + 1 : begin + 1 + self._arena[begin]])

    def intern(self, records: bytearray, size: int) -> int:
        """Replace the rules in `records[:size]` by their numbers; return the new size."""
        return loops.intern(records, size, self._arena, self._slots, self._starts, self._counts)
