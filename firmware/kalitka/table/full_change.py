"""A full change: replaces the table by what comes.

As long as codes come in code order, nothing is sorted: what equals the table is only counted,
and from the first difference on the new base is written as it comes. An answer that is the table
already writes nothing, whatever its size; a sorted one is written once.
"""

from kalitka.access import rules
from kalitka.table.runs import merge
from kalitka.table.segment import RULE_SET_MAX, Damaged, SegmentWriter
from kalitka.table.transaction import RULE, STEP, Transaction, newest, next_live


class FullChange(Transaction):
    """A change that starts from nothing."""

    def __init__(self, table):
        super().__init__(table)
        if table.foreign:
            self.seconds = False
        self._intake = _Intake(table)
        self._sorted = True  # everything so far went into the intake

    def delete(self, code: bytes) -> None:
        """Do nothing: there is nothing that could be deleted."""

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        self._intake.close()
        super().abort()

    def _take(self, key, packed_rule):
        if self._sorted:
            if self._intake.take(key, packed_rule):
                return
            self._sorted = False
            # The code whose rules were still coming is sorted with the rest.
            for rule in self._intake.give_back():
                super()._take(self._intake.key, rule)
            self._intake.finish()
        super()._take(key, packed_rule)

    def commit(self, minute: int):
        """Make the change the table's; see Transaction."""
        return self._carry_out(self._steps(minute))

    def _steps(self, minute):
        table = self._table
        intake = self._intake
        if self._sorted:
            intake.finish()
            same = intake.is_table()
        else:
            same = False if table.fault else (yield from self._equals_table())
        if same:
            table.confirm(minute, self.seconds)
            return
        if self._sorted and intake.name and not intake.matched:
            # It was written as it came: it is the new base already.
            name = intake.name
            self.changed = intake.written
        else:
            name = table.new_name("base")
            writer = yield from self._write(name, self._entries())
            self.changed = writer.codes
        table.install([name], minute, self.seconds)
        # Every file is new, and so is whatever was damaged.
        table.fault = ""

    def _entries(self):
        # Yields (key, rule set) of every code. May be gone through twice.
        if self._sorted:
            yield from self._intake.entries()
            return
        self.overflowed = 0
        groups = self._groups(merge([_records_of(self._intake.entries()), self._runs.sorted()]))
        try:
            for key, _, added in groups:
                yield key, added
        finally:
            groups.close()

    def _equals_table(self):
        # Compares the whole change with the whole table, both in code order.
        old = newest(self._table.segments())
        new = self._entries()
        try:
            for count, entry in enumerate(new):
                if entry != next_live(old):
                    return False
                if count % STEP == STEP - 1:
                    yield
            return next_live(old) is None
        except Damaged as e:
            # Found out just in time: the new table will not have it.
            self._table.fault = str(e)
            return False
        finally:
            old.close()
            new.close()


class _Intake:
    # What comes in code order. First it is held against the table; from the first difference on
    # it is written to a segment of its own.

    def __init__(self, table):
        self._table = table
        self._old = None if table.fault else newest(table.segments())
        self._file = None
        self._writer = None
        self._segment = None
        self.key = b""  # the code that is coming, packed
        # Its packed rules, one behind the other: many small objects would splinter the heap.
        self._rules = b""
        self._coming = False
        self.matched = 0  # codes that are the table's first ones
        self.name = ""  # of the segment, once there is one
        self.written = 0  # codes in it

    def take(self, key, packed_rule):
        # Returns False, taking nothing, if this is out of order, or too much for one code.
        if key == self.key:
            if len(self._rules) + len(packed_rule) > RULE_SET_MAX:
                return False
            self._rules += packed_rule
            return True
        if key < self.key:
            return False
        self._end_code()
        self.key = key
        self._rules = packed_rule
        self._coming = True
        return True

    def give_back(self):
        # Returns the rules of the code `key` that was coming; it is not taken then.
        self._coming = False
        return rules.split(self._rules) or [b""]

    def finish(self):
        # Ends the segment, if there is one.
        self._end_code()
        if self._writer and self._file:
            self._writer.finish()
            self.written = self._writer.codes
            self._writer = None
            self._file.close()
            self._file = None
            self._segment = self._table.open_segment(self.name)

    def is_table(self):
        # Whether what came is all that the table has.
        try:
            return self._old is not None and next_live(self._old) is None
        except Damaged as e:
            self._table.fault = str(e)
            return False

    def entries(self):
        # Yields (key, rule set) of what was taken.
        left = self.matched
        if left:
            old = newest(self._table.segments())
            try:
                while left:
                    yield next_live(old)
                    left -= 1
            finally:
                old.close()
        if self._segment:
            yield from self._segment.entries()

    def close(self):
        # Lets go of every file.
        self._stop_matching()
        if self._file:
            self._file.close()
            self._file = None
        if self._segment:
            self._segment.close()
            self._segment = None

    def _end_code(self):
        if not self._coming:
            return
        self._coming = False
        entry = self.key, rules.join(rules.split(self._rules))
        if self._old:
            if self._matches(entry):
                self.matched += 1
                return
            self._stop_matching()
        if not self._writer:
            self.name = self._table.new_name("base")
            path = self._table.folder + "/" + self.name
            self._file = open(path, "wb")  # noqa: SIM115 - open until all has come
            self._writer = SegmentWriter(self._file)
        self._writer.add(*entry)

    def _matches(self, entry):
        try:
            return next_live(self._old) == entry
        except Damaged as e:
            # Found out just in time: the new table will not have it.
            self._table.fault = str(e)
            return False

    def _stop_matching(self):
        if self._old:
            self._old.close()
            self._old = None


def _records_of(entries):
    # Splits (key, rule set) into records that may be merged with others.
    try:
        for key, rule_set in entries:
            for rule in rules.split(rule_set) or [b""]:
                yield key + RULE + rule
    finally:
        entries.close()
