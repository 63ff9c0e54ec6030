"""A change of the rule table: the common base of full and incremental changes.

Promises: until `commit` has ended, the table is the old one for every lookup and after every
power cut; afterwards it is the new one. Memory is bounded whatever the size of the change. A
change without a difference writes no segment and no manifest. `drain` and `commit` are generators:
between two of their steps other tasks may run, and look codes up.
"""

from array import array

from kalitka import sync_native
from kalitka.table.block import IN_PLACE, KEY_ROOM, TOMBSTONE, CorruptionError, number_at, rules_at
from kalitka.table.rule_sets import RULE_SET_MAX, RuleSets
from kalitka.table.sorter import Sorter, TextCache
from micropython import const

_SUM_MASK = const(0x3FFFFFFF)  # sums are modulo 2**30
_RECORDS = const(16)  # of one code, between two yields to other tasks


class Transaction:
    """A collection of deletes and rules, to be committed together.

    Made by `Table.begin`, one at a time. buffer: see Sorter.

    Both kinds have `commit(minute)`, a generator to be run to its end, which commits the change.
    minute: the server's minute that the new state belongs to. To give a commit up, close the
    generator and call `abort`. `commit` raises OSError (no room, a bad block) and CorruptionError
    (the old table is damaged, only a full change can help); the table and its minute are then as
    before.

    seconds: whether this server has sent day times in seconds.
    changed: after `commit`, the number of codes that changed (of a full change: all, or none).
    overflowed: rules dropped because their code has more than it can hold (720 bytes packed).
    retry: if not 0 after `commit`, nothing was written: ask the server once more and begin the
    next change with this value; see FullChange.
    """

    def __init__(self, table, buffer: bytearray | None):
        self._table = table
        large = buffer is not None
        self._sorter = Sorter(table.folder + "/run-", buffer)
        self._texts = TextCache(self._sorter.notes, large)
        self._rule_sets = RuleSets(large)
        self._sums = array("i", [0, 0, 0])  # of all lines added
        self._current = None
        self.seconds = table.seconds
        self.changed = 0
        self.overflowed = 0
        self.retry = 0

    def add_lines(self, text: bytes | bytearray, at: int, n: int, marks: array) -> int:
        """Add the whole lines of `text[at:n]`; marks and result: see `sync_native.pack_lines`."""
        self._rule_sets.prepare(n - at)
        sorter = self._sorter
        texts = self._texts
        fault = sync_native.pack_lines(
            at,
            n,
            0,
            text,
            marks,
            self._sums,
            sorter.buf,
            sorter.offsets,
            sorter.notes,
            texts.texts,
            texts.slots,
            *self._rule_sets.tables,
        )
        if marks[3]:
            self.seconds = True
        if fault == sync_native.MORE and not sorter.grow():
            # The caller did not call `drain`: the same work, in one long step.
            for _ in self._drain():
                pass
        return fault

    def drain(self):
        """Make room for the next 1,024 bytes of an answer: a generator, as `commit` is."""
        if self._sorter.crowded:
            yield from self._drain()

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Do nothing after a commit."""
        self._sorter.discard()
        self._current = None
        self._table.release(self)

    def _drain(self):
        # Empties the sorter's buffer.
        return self._sorter.spill()

    def _commit(self, steps):
        # Runs `steps`, the generator of the kind's own steps, and ends the transaction. No more
        # lines are added: the text cache is freed.
        self._texts = TextCache(self._sorter.notes, False)
        try:
            yield from steps
        except CorruptionError as e:
            self._table.fault = str(e)
            raise
        finally:
            # In this order: the steps may have files open, which `abort` removes. It does so after
            # a commit, too: runs and replaced segments are left.
            steps.close()
            self.abort()

    def _changes(self):
        # Returns the CodeChanges of this transaction, which is made once.
        if not self._current:
            self._current = CodeChanges(self._rule_sets)
        return self._current


def sums_after(sums, more, less):
    """Return the sums of a table (a list of three) after adding `more` and subtracting `less`."""
    return [one + more[i] - less[i] & _SUM_MASK for i, one in enumerate(sums)]


class CodeChanges:
    """The changes of one code: all its records of a sync together.

    key: begins with the packed code. deleted: whether the code's earlier rules are deleted.
    number: of the rule set that is added; IN_PLACE if `rule_set` (bytes) is added, TOMBSTONE if
    nothing is.

    overflowed: rules dropped so far, of all codes. line_sums, code_sums: the sums (see
    `sync_native.digest`) of all records so far, and of the rule sets they were merged into.
    """

    def __init__(self, rule_sets: RuleSets):
        self.rule_sets = rule_sets
        self.key = bytearray(KEY_ROOM)
        self.deleted = False
        self.number = TOMBSTONE
        self.rule_set = b""
        self.overflowed = 0
        self.line_sums = array("i", [0, 0, 0])
        self.code_sums = array("i", [0, 0, 0])
        self._rules = None  # while records of one code are joined: its packed rules, sorted
        self._goes_on = False

    def read(self, stream) -> bool:
        """Read records of the stream's current code. The stream must not be at its end.

        Returns whether the code has more of them: let other tasks run, and call again. A server
        may send any number of rules for a code, and the door must not wait for them.
        """
        buf = stream.buf
        key = self.key
        if not self._goes_on:
            sync_native.copy_code(buf, stream.at, key, 0)
            self.deleted = False
            self.number = TOMBSTONE
        for _ in range(_RECORDS):
            number = number_at(buf, stream.value)
            if number == TOMBSTONE:
                self.deleted = True
            else:
                added = rules_at(buf, stream.value) if number < 0 else self.rule_sets.get(number)
                self.digest(added, self.line_sums)
                if self.number == TOMBSTONE:
                    self.number = number
                    self.rule_set = added
                elif number != self.number or number == IN_PLACE:
                    self._join(added)
                    self.number = IN_PLACE
            stream.next()
            if stream.at < 0 or sync_native.compare(key, 0, buf, stream.at):
                break
        else:
            self._goes_on = True
            return True
        self._goes_on = False
        self._end_join()
        if self.number == IN_PLACE:
            # The set may have a number by now: as a union, or since its record was written.
            self.number = self.rule_sets.number(self.rule_set)
        if self.number != TOMBSTONE:
            self.digest(self.rule_set, self.code_sums)
        return False

    def value(self) -> bytes | None:
        """Return the rule set (bytes) that is added, or None."""
        return None if self.number == TOMBSTONE else self.rule_set

    def union(self, kept: bytes) -> None:
        """Add the rules of a set (bytes) that the code keeps."""
        added = self.value()
        self.rule_set = kept
        self._join(added or b"")
        self._end_join()
        self.number = self.rule_sets.number(self.rule_set)

    def digest(self, rule_set: bytes, sums: array) -> None:
        """Add the code with each rule of a set to the sums."""
        sync_native.digest(self.key, 0, self.key[1] + 3, rule_set, 0, len(rule_set), sums)

    def _join(self, more):
        # Adds the rules of a set (bytes) to `rule_set`, which `_end_join` then brings up to date.
        # A list in between: a code with thousands of rules would be packed anew for each.
        from kalitka.access import packing  # here, as few codes need it

        rules = self._rules
        if rules is None:
            rules = self._rules = packing.split(self.rule_set)
            self._size = len(self.rule_set)
        for rule in packing.split(more):
            at = 0
            end = len(rules)
            while at < end:
                middle = (at + end) // 2
                if rules[middle] < rule:
                    at = middle + 1
                else:
                    end = middle
            if at < len(rules) and rules[at] == rule:
                continue
            rules.insert(at, rule)
            self._size += len(rule)
            while self._size > RULE_SET_MAX:
                # Beyond the bound the last rule in byte order is dropped, and counted.
                self._size -= len(rules.pop())
                self.overflowed += 1

    def _end_join(self):
        if self._rules is not None:
            self.rule_set = b"".join(self._rules)
            self._rules = None
