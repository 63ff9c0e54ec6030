"""A change of the rule table: collected, sorted, merged with what is there, committed or not.

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

_STEP = const(64)  # entries between two chances for others to run
_DELTAS_MAX = const(4)  # a lookup of an unknown code reads one block of each
_BASE_SHARE = const(4)  # deltas of a quarter of the base's size are merged into it
_SEGMENTS_MAX = const(10)  # with no room to merge them; the manifest can name more
_LOOKUPS = const(4)  # looked up between two chances for others to run: each reads 1 KiB or more

# A record is a packed code, a kind byte and a packed rule. Deletes come before the rules of
# their code, and equal rules side by side.
_DELETE = b"\x00"
_RULE = b"\x01"


class Transaction:
    """Collects deletes and rules; made by `Table.begin`. One at a time.

    changed: after `commit`, how many codes became different (of a full one: all, or none).
    overflowed: rules dropped because their code has more than it can hold (720 bytes packed).
    """

    def __init__(self, table, full: bool):
        self._table = table
        self._full = full
        self._runs = Runs(table.folder + "/run-")
        self.seconds = table.seconds and not (full and table.foreign)
        self.changed = 0
        self.overflowed = 0

    def delete(self, code: bytes) -> None:
        """Remove every rule that `code` (bytes) had before this transaction."""
        # A full change starts from nothing: there is nothing to delete.
        if not self._full:
            self._runs.add(codes.pack(code) + _DELETE)

    def add(self, code: bytes, packed_rule: bytes) -> None:
        """Add a packed rule to `code` (bytes). The empty rule b"" only makes the code known."""
        if packed_rule and rules.speaks_seconds(packed_rule):
            self.seconds = True
        self._runs.add(codes.pack(code) + _RULE + packed_rule)

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        self._runs.discard()
        self._table.release(self)

    def commit(self, minute: int):
        """Make the change the table's. A generator: run it to its end.

        minute: the server's minute that the new state belongs to. Whoever gives it up closes it
        and calls `abort`. Raises OSError (no room, a bad block) and Damaged (the old table is,
        and only a full change can help); the table and its minute are then as before.
        """
        try:
            yield from self._runs.reduce()
            if self._full:
                yield from self._replace(minute)
            else:
                yield from self._amend(minute)
        except Damaged as e:
            self._table.fault = str(e)
            raise
        finally:
            self.abort()

    def _replace(self, minute):
        table = self._table
        if not table.fault:
            same = yield from self._equals_table()
            if same:
                table.confirm(minute, self.seconds)
                return
        name = table.new_name("base")
        writer = yield from self._write(name, self._grouped())
        table.install([name], minute, self.seconds)
        # Every file is new, and so is whatever was damaged.
        table.fault = ""
        self.changed = writer.codes

    def _amend(self, minute):
        changes = self._changes()
        try:
            yield from self._apply(changes, minute)
        finally:
            changes.close()

    def _apply(self, changes, minute):
        table = self._table
        first = None
        for first in changes:
            if first is not None:
                break
            yield
        if first is None:
            table.confirm(minute, self.seconds)
            return
        names = table.names()
        name = table.new_name("delta" if names else "base")
        writer = yield from self._write(name, changes, first)
        names.append(name)
        self.changed = writer.codes + writer.tombstones
        if len(names) > 1 + _DELTAS_MAX:
            try:
                names = yield from self._compact(names)
            except Damaged:
                raise
            except OSError:
                # No room, most likely. Deletes must not wait for it.
                if len(names) > _SEGMENTS_MAX:
                    raise
        table.install(names, minute, self.seconds)

    def _compact(self, names):
        # Merges the deltas into one, or, once they add up, all of it into a new base.
        table = self._table
        segments = [table.open_segment(name) for name in reversed(names)]
        try:
            base = segments[-1]
            deltas = sum(segment.size for segment in segments) - base.size
            if deltas * _BASE_SHARE >= base.size:
                name = table.new_name("base")
                live = (entry if entry[1] is not None else None for entry in newest(segments))
                yield from self._write(name, live)
                return [name]
            name = table.new_name("delta")
            yield from self._write(name, newest(segments[:-1]))
            return [names[0], name]
        finally:
            for segment in segments:
                segment.close()

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
                    if entry is None or count % _STEP == _STEP - 1:
                        yield
                writer.finish()
            return writer
        finally:
            entries.close()

    def _equals_table(self):
        # Compares the whole change with the whole table, both in code order.
        old = newest(self._table.segments())
        new = self._grouped()
        try:
            for count, entry in enumerate(new):
                if entry != _next_live(old):
                    return False
                if count % _STEP == _STEP - 1:
                    yield
            return _next_live(old) is None
        except Damaged as e:
            # Found out just in time: the new table will not have it.
            self._table.fault = str(e)
            return False
        finally:
            old.close()
            new.close()

    def _changes(self):
        # Yields (key, new rule set or None) of the codes whose state becomes another, and None
        # where others may run: an answer may repeat thousands of codes and change none.
        groups = self._groups()
        try:
            for count, (key, deleted, added) in enumerate(groups):
                old = self._table.lookup_packed(key)
                new = self._sum(None if deleted else old, added)
                if new != old:
                    yield key, new
                elif count % _LOOKUPS == _LOOKUPS - 1:
                    yield None
        finally:
            groups.close()

    def _grouped(self):
        # Yields (key, rule set) of every code of a full change. May be gone through twice.
        self.overflowed = 0
        groups = self._groups()
        try:
            for key, _, added in groups:
                yield key, added
        finally:
            groups.close()

    def _groups(self):
        # Yields (key, deleted, rule set added or None) a code, in code order. The records are
        # sorted, and so the rules of a code come in the order of a rule set, equal ones together.
        records = self._runs.sorted()
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

    def _sum(self, kept, added):
        # The rule set of a code that keeps one (None: nothing) and gets another.
        if not kept or added is None:
            return kept if added is None else added
        total = b""
        for rule in rules.split(rules.join(rules.split(kept) + rules.split(added))):
            total = self._append(total, rule)
        return total

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


def _next_live(entries):
    for entry in entries:
        if entry[1] is not None:
            return entry
    return None
