"""A change of the rule table: what a full and an incremental one have in common.

Promises: until `commit` is through, the table is the old one for every lookup and after every
power cut; afterwards it is the new one. Memory is bounded whatever the size of the change. What
changes nothing writes no segment and no manifest. `settle` and `commit` are generators: between
two of their steps others may run, and look up.
"""

from kalitka import loops
from kalitka.access import packing
from kalitka.table import codes
from kalitka.table.block import IN_PLACE, KEY_ROOM, NO_RULES, Damaged, number_at, rules_at
from kalitka.table.rule_sets import RULE_SET_MAX, RuleSets
from kalitka.table.sorter import Sorter


class Transaction:
    """Collects deletes and rules; made by `Table.begin`. One at a time.

    Either kind has `commit(minute)`, which makes the change the table's: a generator, to be run to
    its end. minute: the server's minute that the new state belongs to. Whoever gives it up closes
    it and calls `abort`. It raises OSError (no room, a bad block) and Damaged (the old table is,
    and only a full change can help); the table and its minute are then as before.

    changed: after `commit`, how many codes became different (of a full one: all, or none).
    overflowed: rules dropped because their code has more than it can hold (720 bytes packed).
    again: after `commit`: nothing was changed, and the server has to be asked once more, for a
    change begun with `unsorted`; see FullChange.
    """

    def __init__(self, table):
        self._table = table
        self._sorter = Sorter(table.folder + "/run-")
        self._rule_sets = None
        self._reader = None
        self.seconds = table.seconds
        self.changed = 0
        self.overflowed = 0
        self.again = False

    def take(self, records: bytearray, size: int, seconds: bool) -> None:
        """Add rules as of `loops.pack_lines`, whose records in `records[:size]` are changed.

        seconds: whether one of them has a day time that can only be in seconds.
        """
        if seconds:
            self.seconds = True
        self._keep(records, self._intern(records, size))

    def add(self, code: bytes, packed_rule: bytes) -> None:
        """Add a packed rule to `code` (bytes). The empty rule b"" only makes the code known."""
        record = bytearray(codes.pack(code))
        record.append(1)
        record.append(len(packed_rule))
        record.extend(packed_rule)
        seconds = bool(packed_rule) and packing.speaks_seconds(packed_rule)
        self.take(record, len(record), seconds)

    def settle(self):
        """Make room for the next piece of an answer, 512 bytes of it: a generator, as `commit`."""
        if self._sorter.crowded:
            yield from self._drain()

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        self._sorter.discard()
        self._rule_sets = self._reader = None
        self._table.release(self)

    def _intern(self, records, size):
        if not self._rule_sets:
            self._rule_sets = RuleSets()
        return self._rule_sets.intern(records, size)

    def _keep(self, records, size):
        while not self._sorter.fits(size):
            # Nobody settled. It comes to the same, only in one piece.
            for _ in self._drain():
                pass
        self._sorter.add(records, size)

    def _drain(self):
        # Empties the sorter's buffer.
        return self._sorter.spill()

    def _carry_out(self, steps):
        # Commits by the kind's own steps, a generator.
        try:
            yield from steps
        except Damaged as e:
            self._table.fault = str(e)
            raise
        finally:
            steps.close()
            self.abort()

    def _group(self):
        # The one Group of this transaction.
        if not self._rule_sets:
            self._rule_sets = RuleSets()
        if not self._reader:
            self._reader = Group(self._rule_sets)
        return self._reader


class Group:
    """What a sync says of one code: all its records together.

    key: begins with the packed code. deleted: whether earlier rules are. number: of the rule set
    that is added, IN_PLACE for `rule_set` (bytes), NO_RULES if none is.

    overflowed: rules dropped so far, of all codes.
    """

    def __init__(self, rule_sets: RuleSets):
        self.rule_sets = rule_sets
        self.key = bytearray(KEY_ROOM)
        self.deleted = False
        self.number = NO_RULES
        self.rule_set = b""
        self.overflowed = 0

    def read(self, stream) -> None:
        """Take all records of the stream's current code, which there must be."""
        buf = stream.buf
        loops.copy_code(buf, stream.at, self.key, 0)
        self.deleted = False
        self.number = NO_RULES
        while True:
            number = number_at(buf, stream.value)
            if number == NO_RULES:
                self.deleted = True
            elif self.number == NO_RULES:
                self.number = number
                if number == IN_PLACE:
                    self.rule_set = rules_at(buf, stream.value)
            elif number != self.number or number == IN_PLACE:
                more = rules_at(buf, stream.value) if number < 0 else self.rule_sets.get(number)
                self.rule_set = self._sum(self.value() or b"", more)
                self.number = IN_PLACE
            stream.next()
            if stream.at < 0 or loops.order(self.key, 0, buf, stream.at):
                break
        if self.number == IN_PLACE:
            # As a sum, or since it came first, it may be one that has a number.
            self.number = self.rule_sets.number(self.rule_set)

    def value(self) -> bytes | None:
        """Return the rule set (bytes) that is added, None if none is."""
        if self.number == NO_RULES:
            return None
        return self.rule_set if self.number == IN_PLACE else self.rule_sets.get(self.number)

    def sum_with(self, kept: bytes) -> None:
        """Make the rule set the sum of what it is and of one that the code keeps (bytes)."""
        self.rule_set = self._sum(kept, self.value() or b"")
        self.number = self.rule_sets.number(self.rule_set)

    def _sum(self, rule_set, more):
        for rule in packing.split(more):
            rule_set = packing.insert(rule_set, rule)
            while len(rule_set) > RULE_SET_MAX:
                # What is last in byte order is beyond the bound; it is dropped and counted.
                rule_set = rule_set[: -len(packing.split(rule_set)[-1])]
                self.overflowed += 1
        return rule_set
