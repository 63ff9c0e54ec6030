"""A change of the rule table: what a full and an incremental one have in common.

Promises: until `commit` is through, the table is the old one for every lookup and after every
power cut; afterwards it is the new one. Memory is bounded whatever the size of the change. What
changes nothing writes no segment and no manifest. `commit` is a generator: between two of its
steps others may run, and look up.
"""

from kalitka.access import rules
from kalitka.table import codes
from kalitka.table.runs import Runs, merge
from kalitka.table.segment import RULE_SET_MAX, Damaged, SegmentWriter
from micropython import const

STEP = const(64)  # entries between two chances for others to run

# A record is a packed code, a kind byte and a packed rule. Deletes come before the rules of
# their code, and equal rules side by side.
DELETE = b"\x00"
RULE = b"\x01"


class Transaction:
    """Collects deletes and rules; made by `Table.begin`. One at a time.

    Either kind has `commit(minute)`, which makes the change the table's: a generator, to be run to
    its end. minute: the server's minute that the new state belongs to. Whoever gives it up closes
    it and calls `abort`. It raises OSError (no room, a bad block) and Damaged (the old table is,
    and only a full change can help); the table and its minute are then as before.

    changed: after `commit`, how many codes became different (of a full one: all, or none).
    overflowed: rules dropped because their code has more than it can hold (720 bytes packed).
    """

    def __init__(self, table):
        self._table = table
        self._runs = Runs(table.folder + "/run-")
        self.seconds = table.seconds
        self.changed = 0
        self.overflowed = 0

    def delete(self, code: bytes) -> None:
        """Remove every rule that `code` (bytes) had before this transaction."""
        self._runs.add(codes.pack(code) + DELETE)

    def add(self, code: bytes, packed_rule: bytes) -> None:
        """Add a packed rule to `code` (bytes). The empty rule b"" only makes the code known."""
        if packed_rule and rules.speaks_seconds(packed_rule):
            self.seconds = True
        self._take(codes.pack(code), packed_rule)

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        self._runs.discard()
        self._table.release(self)

    def _carry_out(self, steps):
        # Commits by the kind's own steps, a generator, once the records can be read in order.
        try:
            yield from self._runs.reduce()
            yield from steps
        except Damaged as e:
            self._table.fault = str(e)
            raise
        finally:
            self.abort()

    def _take(self, key, packed_rule):
        self._runs.add(key + RULE + packed_rule)

    def _write(self, name, entries, first=None):
        # Writes a segment of the entries; None among them is a pause.
        try:
            with open(self._table.folder + "/" + name, "wb") as file:
                writer = SegmentWriter(file)
                if first:
                    writer.add(*first)
                for count, entry in enumerate(entries):
                    if entry is not None:
                        writer.add(*entry)
                    if entry is None or count % STEP == STEP - 1:
                        yield
                writer.finish()
            return writer
        finally:
            entries.close()

    def _groups(self, records):
        # Yields (key, deleted, rule set added or None) a code, in code order. The records are
        # sorted, and so the rules of a code come in the order of a rule set, equal ones together.
        key = last = added = None
        deleted = False
        try:
            for record in records:
                if record == last:
                    continue
                last = record
                size = record[1] + 3
                if record[:size] != key:
                    if key is not None:
                        yield key, deleted, added
                    key = record[:size]
                    deleted = False
                    added = None
                if record[size] == 0:
                    deleted = True
                else:
                    added = self._append(added or b"", record[size + 1 :])
            if key is not None:
                yield key, deleted, added
        finally:
            records.close()

    def _append(self, rule_set, rule):
        # What is beyond the bound of a rule set is dropped and counted.
        if len(rule_set) + len(rule) > RULE_SET_MAX:
            self.overflowed += 1
            return rule_set
        return rule_set + rule


def newest(segments):
    """Yield (packed code, rule set or None) over some segments, newest first: its word holds."""
    stream = merge([_aged(segment, age) for age, segment in enumerate(segments)])
    last = None
    try:
        for key, _, rule_set in stream:
            if key != last:
                last = key
                yield key, rule_set
    finally:
        stream.close()


def _aged(segment, age):
    # The age stands before the rule set, so that of one code the newest comes first.
    for key, rule_set in segment.entries():
        yield key, age, rule_set


def next_live(entries):
    """Return the next entry that is no tombstone, None behind the last one."""
    for entry in entries:
        if entry[1] is not None:
            return entry
    return None
