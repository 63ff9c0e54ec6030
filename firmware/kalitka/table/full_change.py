"""A full change: replaces the table by what comes.

Two sums over all codes and rules, which do not depend on the order, are formed of what comes, and
kept in the manifest of what is there. While it all fits the sorter's buffer it stays there, and
is written if the sums differ. Of a longer answer nothing but the sums is kept at first: mostly it
is the table already, as of yesterday's full sync. If it is not, the server is asked once more.
Then what comes in code order goes straight into the new base; what does not is sorted in flash.
So an answer that is the table writes nothing, whatever its size and order, and a sorted one is
written once. A table that is empty or damaged is filled at once.
"""

from kalitka.table.sorter import STEP
from kalitka.table.transaction import Transaction, sums_after
from kalitka.table.writers import SegmentWriter
from micropython import const

# How an answer is asked for again: one that came in code order, one that did not.
_IN_ORDER = const(1)
_UNORDERED = const(2)


class FullChange(Transaction):
    """A change that starts from nothing.

    retry: that of the change before it, if the server was asked again; else 0.
    """

    def __init__(self, table, buffer: bytearray, retry: int):
        super().__init__(table, buffer)
        if table.stale:
            self.seconds = False
        self._unordered = retry == _UNORDERED
        # Whether the answer may be the table that is there.
        self._may_match = not retry and table.sums is not None and not table.fault
        self._only_sums = False  # nothing else is kept of what comes
        self._name = ""  # of the new base, once it is begun
        self._file = None
        self._writer = None

    def delete(self, code: bytes) -> None:
        """Do nothing: there is nothing that could be deleted."""

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        try:
            self._close()
        except OSError:  # it goes anyway
            pass
        super().abort()

    def commit(self, minute: int):
        """Make the change the table's; see Transaction."""
        return self._commit(self._steps(minute))

    def _drain(self):
        sorter = self._sorter
        if not self._only_sums:
            whole = 0 if self._unordered or sorter.spilled else sorter.whole_codes()
            if (self._may_match and self._table.names()) or (self._writer and not whole):
                self._only_sums = True
                self._close()
            elif whole:
                yield from self._write(sorter.first(whole))
                sorter.keep_from(whole)
            else:
                yield from sorter.spill()
        if self._only_sums:
            sorter.skip()

    def _steps(self, minute):
        table = self._table
        sorter = self._sorter
        if self._may_match and list(self._sums) == table.sums:
            table.set_minute(minute, self.seconds)
            return
        if self._only_sums:
            ordered = self._may_match and sorter.in_order
            self.retry = _IN_ORDER if ordered else _UNORDERED
            return
        stream = yield from sorter.stream()
        yield from self._write(stream)
        changes = self._changes()
        self.overflowed = changes.overflowed
        # Lines of one code may have come to less than they say.
        sums = sums_after(self._sums, changes.code_sums, changes.line_sums)
        codes = self._finish()
        if sums == table.sums and not table.fault:
            table.set_minute(minute, self.seconds)
            return
        # Its memory is wanted for opening the new segment.
        sorter.discard()
        self.changed = codes
        table.commit([self._name], minute, self.seconds, sums)
        # Every file is new, and so is whatever was damaged.
        table.fault = ""

    def _write(self, stream):
        # Writes all codes of a stream to the new base.
        writer = self._begin()
        changes = self._changes()
        done = 0
        while stream.at >= 0:
            done += writer.extend(stream, STEP - done)
            if done < STEP and stream.at >= 0:
                changes.read(stream)
                writer.add(changes.key, 0, changes.number, changes.rule_set)
                done += 1
            if done == STEP:
                done = 0
                yield

    def _begin(self):
        # The writer of the new base, made when it is first needed.
        if not self._writer:
            self._name = self._table.new_name("base")
            path = self._table.folder + "/" + self._name
            self._file = open(path, "wb")  # noqa: SIM115 - till the end
            self._writer = SegmentWriter(self._file, self._rule_sets)
        return self._writer

    def _finish(self):
        # Makes the new base whole; returns how many codes it has.
        writer = self._begin()
        writer.finish()
        self._close()
        return writer.codes

    def _close(self):
        # Lets go of the file.
        self._writer = None
        if self._file:
            file = self._file
            self._file = None
            file.close()
