"""A full change: replaces the table by what comes.

As long as codes come in code order, nothing is sorted: what equals the table is only counted,
and from the first difference on the new base is written as it comes. What is out of order and
fits the sorter's buffer is sorted there. Of a longer answer out of order only a sum is formed
at first: mostly it is the table already, as of yesterday's full sync. If it is not, the server
is asked once more, and this time the answer is sorted in flash. So an answer that is the table
writes nothing, whatever its size and order, and a sorted one is written once.
"""

from array import array

from kalitka import loops
from kalitka.table.block import IN_PLACE, Damaged
from kalitka.table.merge import Entries
from kalitka.table.segment import SegmentWriter
from kalitka.table.sorter import STEP
from kalitka.table.transaction import Transaction


class FullChange(Transaction):
    """A change that starts from nothing.

    unsorted: the answer was out of order when it was asked for last, and not the table.
    """

    def __init__(self, table, unsorted: bool):
        super().__init__(table)
        if table.foreign:
            self.seconds = False
        self._sorter.expect_many()
        self._unsorted = unsorted
        self._intake = _Intake(table)
        self._sums = None
        if not unsorted and not table.fault and table.names():
            self._sums = array("i", [0, 0, 0])
        self._only_sums = False  # nothing else is kept of what comes

    def take(self, records: bytearray, size: int, seconds: bool) -> None:
        """Add rules; see Transaction."""
        if self._sums:
            loops.digest_records(records, size, self._sums)
        if self._only_sums:
            self.seconds = self.seconds or seconds
        else:
            super().take(records, size, seconds)

    def delete(self, code: bytes) -> None:
        """Do nothing: there is nothing that could be deleted."""

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        try:
            self._intake.close()
        except OSError:  # it goes anyway
            pass
        super().abort()

    def commit(self, minute: int):
        """Make the change the table's; see Transaction."""
        return self._carry_out(self._steps(minute))

    def _drain(self):
        sorter = self._sorter
        whole = 0 if self._unsorted or sorter.spilled else sorter.whole_codes()
        if whole:
            yield from self._intake.take(sorter.first(whole), self._group())
            sorter.keep_from(whole)
        elif self._sums or self._intake.begun:
            self._only_sums = True
            self._intake.close()
            sorter.discard()
        else:
            yield from sorter.spill()

    def _steps(self, minute):
        table = self._table
        intake = self._intake
        if self._only_sums:
            if self._sums and (yield from self._sums_are_the_tables()):
                table.confirm(minute, self.seconds)
            else:
                self.again = True
            return
        group = self._group()
        stream = yield from self._sorter.stream()
        yield from intake.take(stream, group)
        same = yield from intake.finish(group)
        self.overflowed = group.overflowed
        if same:
            table.confirm(minute, self.seconds)
            return
        # Its memory is wanted for opening the new segment.
        self._sorter.discard()
        self.changed = intake.codes
        table.install([intake.name], minute, self.seconds)
        # Every file is new, and so is whatever was damaged.
        table.fault = ""

    def _sums_are_the_tables(self):
        sums = array("i", [0, 0, 0])
        try:
            entries = Entries(self._table.segments())
            count = 0
            while entries.next_live():
                key = entries.key
                rule_set = entries.rule_set
                loops.digest(key, 0, key[1] + 3, rule_set, 0, len(rule_set), sums)
                count += 1
                if count % STEP == 0:
                    yield
        except Damaged as e:
            # Found out just in time: the new table will not have it.
            self._table.fault = str(e)
            return False
        return sums == self._sums


class _Intake:
    # Takes the new table's codes in code order. First they are held against the old table; from
    # the first difference on they are written to a segment, behind what was equal.

    def __init__(self, table):
        self._table = table
        self._old = None
        self._compares = not table.fault
        self._equal = 0  # codes that are the table's first ones
        self._file = None
        self._writer = None
        self.name = ""  # of the segment, once there is one
        self.codes = 0  # in it

    @property
    def begun(self):
        return bool(self.name)

    def take(self, stream, group):
        # Takes all codes of a stream; `group` to read them with.
        count = 0
        while stream.at >= 0:
            if self._writer:
                if self._writer.pour(stream, STEP) == STEP:
                    yield
                    continue
                if stream.at < 0:
                    break
            group.read(stream)
            if not self._writer:
                if self._compares and self._has_next(group):
                    self._equal += 1
                else:
                    self._writer = yield from self._begin(group)
            if self._writer:
                self._writer.add(group.key, 0, group.number, group.rule_set)
            count += 1
            if count % STEP == 0:
                yield

    def finish(self, group):
        # Returns whether what came was the table; else the segment is whole and closed.
        writer = self._writer
        if not writer:
            if self._compares and self._is_at_end(group):
                return True
            writer = yield from self._begin(group)
        writer.finish()
        self.codes = writer.codes
        self.close()
        return False

    def close(self):
        # Lets go of the file.
        self._old = self._writer = None
        if self._file:
            file = self._file
            self._file = None
            file.close()

    def _next_old(self, group):
        # Goes on to the table's next code; None at its end or at damage.
        try:
            if not self._old:
                self._old = Entries(self._table.segments(), group.rule_sets)
            return self._old if self._old.next_live() else None
        except Damaged as e:
            # Found out just in time: the new table will not have it.
            self._table.fault = str(e)
            return None

    def _has_next(self, group):
        old = self._next_old(group)
        return (
            old is not None
            and not loops.order(old.key, 0, group.key, 0)
            and old.number == group.number
            and (old.number != IN_PLACE or old.rule_set == group.rule_set)
        )

    def _is_at_end(self, group):
        return self._next_old(group) is None and not self._table.fault

    def _begin(self, group):
        # Begins the segment: with the codes that were equal. Returns its writer.
        self._compares = False
        self._old = None
        self.name = self._table.new_name("base")
        self._file = open(self._table.folder + "/" + self.name, "wb")  # noqa: SIM115 - till the end
        writer = SegmentWriter(self._file, group.rule_sets)
        if self._equal:
            equal = Entries(self._table.segments(), group.rule_sets)
            for count in range(self._equal):
                equal.next_live()
                writer.add(equal.key, 0, equal.number, equal.rule_set)
                if count % STEP == 0:
                    yield
        return writer
