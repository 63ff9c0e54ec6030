"""A full change: replaces the table with the answer of a full sync.

Promises: an answer that equals the table writes nothing, whatever its size and order; an answer in
code order is written once. To this end two sums over all codes and rules, which do not depend on
the order, are formed of the answer and compared with those in the manifest. An answer that fits
the sorter's buffer stays there, and is written if the sums differ. Of a longer answer only the
sums are kept at first, as it mostly equals the table since yesterday's full sync. If it does not,
the server is asked once more: then an answer in code order goes straight into the new base, any
other is sorted in flash. A table that is empty or damaged is filled from the first answer.
FORMAT.md, Changing, has the steps.
"""

from kalitka.table.sorter import STEP
from kalitka.table.transaction import Transaction, sums_after
from kalitka.table.writers import SegmentWriter
from micropython import const

# Values of `retry`, by the order of the first answer: in code order, or not.
_IN_ORDER = const(1)
_UNORDERED = const(2)


class FullChange(Transaction):
    """A change that starts from an empty table.

    retry: the `retry` of the change before, if the server was asked again; else 0.
    """

    def __init__(self, table, buffer: bytearray, retry: int):
        super().__init__(table, buffer)
        if table.stale:
            self.seconds = False
        self._unordered = retry == _UNORDERED
        # Whether the answer may equal the table.
        self._may_match = not retry and table.sums is not None and not table.fault
        self._only_sums = False  # only the sums of the answer are kept
        self._name = ""  # of the new base, once it is begun
        self._file = None
        self._writer = None

    def delete(self, code: bytes) -> None:
        """Do nothing: a full change starts from an empty table."""

    def abort(self) -> None:
        """Drop everything; the table stays as it is. Does nothing after a commit."""
        try:
            self._close()
        except OSError:  # the file is removed anyway
            pass
        super().abort()

    def commit(self, minute: int):
        """Commit the change; see Transaction."""
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
        # The lines of one code may amount to fewer rules than lines: the sums of the codes count.
        sums = sums_after(self._sums, changes.code_sums, changes.line_sums)
        codes = self._end()
        if sums == table.sums and not table.fault:
            table.set_minute(minute, self.seconds)
            return
        # Frees the buffer: opening the new segment needs its memory.
        sorter.discard()
        self.changed = codes
        table.commit([self._name], minute, self.seconds, sums)
        # Every file is new: no damaged one is left.
        table.fault = ""

    def _write(self, stream):
        # Writes all codes of a stream to the new base; yields after each STEP records.
        writer = self._begin()
        changes = self._changes()
        done = 0
        while stream.at >= 0:
            done += writer.extend(stream, STEP - done)
            if done < STEP and stream.at >= 0:
                while changes.read(stream):
                    yield
                writer.add(changes.key, 0, changes.number, changes.rule_set)
                done += 1
            if done == STEP:
                done = 0
                yield

    def _begin(self):
        # Returns the writer of the new base, which is made when it is first needed.
        if not self._writer:
            self._name = self._table.new_name("base")
            path = self._table.folder + "/" + self._name
            self._file = open(path, "wb")  # noqa: SIM115 - open until `_close`
            self._writer = SegmentWriter(self._file, self._rule_sets)
        return self._writer

    def _end(self):
        # Completes and closes the new base, before the commit opens it; returns how many codes it
        # has.
        writer = self._begin()
        writer.finish()
        self._close()
        return writer.codes

    def _close(self):
        # Closes the file of the new base, if it is open.
        self._writer = None
        if self._file:
            file = self._file
            self._file = None
            file.close()
