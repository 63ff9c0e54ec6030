"""An incremental change: deletes and new rules, applied to the table.

The codes that changed become a new delta; many deltas are merged. FORMAT.md, Changing, step 4.
Promises: an answer that says what the table says already writes no segment. A server repeats the
changes of a minute until the minute is over: after an answer too long for the sorter's buffer the
next one is taken for a repetition, and only the sums of its rules are kept and compared with those
of the codes that it replaces. If they differ, the server is asked once more.
"""

from array import array

from kalitka import sync_native
from kalitka.table import codes
from kalitka.table.block import TOMBSTONE, CorruptionError, number_at
from kalitka.table.merge import MergedEntries
from kalitka.table.sorter import STEP
from kalitka.table.transaction import Transaction, sums_after
from kalitka.table.writers import SegmentWriter
from micropython import const

_DELTAS_MAX = const(4)  # a lookup of an unknown code reads one block of each
_BASE_SHARE = const(4)  # deltas of a quarter of the base's size are merged into it
_SEGMENTS_MAX = const(10)  # if there is no room to merge them; the manifest can name more
_LOOKUPS = const(4)  # lookups between two yields to other tasks: each reads 1 KiB or more


class IncrementalChange(Transaction):
    """A change that is applied to the codes of the table.

    retry: the `retry` of the change before, if the server was asked again; else 0.
    """

    def __init__(self, table, retry: int):
        super().__init__(table, None)
        self._may_match = not retry and table.spilled == table.minute
        self._only_sums = False  # only the sums of the answer are kept
        # Sums of the changed codes with their old rules, and with their new ones.
        self._removed = array("i", [0, 0, 0])
        self._added = array("i", [0, 0, 0])

    def delete(self, code: bytes) -> None:
        """Remove every rule that `code` (bytes) had before this transaction."""
        record = codes.pack(code) + b"\x00"
        while not self._sorter.add(record):
            if not self._sorter.grow():
                for _ in self._drain():
                    pass

    def commit(self, minute: int):
        """Commit the change; see Transaction."""
        return self._commit(self._steps(minute))

    def _drain(self):
        if not self._may_match:
            yield from self._sorter.spill()
            return
        self._only_sums = True
        stream = yield from self._sorter.stream()
        changes = self._changes()
        count = 0
        while stream.at >= 0:
            if number_at(stream.buf, stream.value) == TOMBSTONE:
                sync_native.copy_code(stream.buf, stream.at, changes.key, 0)
                old = self._table.lookup_packed(changes.key)
                if old is not None:
                    changes.digest(old, self._removed)
            stream.next()
            count += 1
            if count % _LOOKUPS == 0:
                yield
        self._sorter.clear()

    def _steps(self, minute):
        table = self._table
        if self._only_sums:
            yield from self._drain()
            # Equal only if every rule is an old one of a code that was deleted.
            if list(self._sums) == list(self._removed):
                table.spilled = minute
                table.set_minute(minute, self.seconds)
            else:
                self.retry = 1
            return
        changes = self._changes()
        if self._sorter.spilled:
            table.spilled = minute
        stream = yield from self._sorter.stream()
        name = yield from self._write(stream, changes)
        self.overflowed = changes.overflowed
        # Frees the buffer: the merge needs its memory.
        self._sorter.discard()
        if not name:
            table.set_minute(minute, self.seconds)
            return
        names = table.names()
        names.append(name)
        if len(names) > 1 + _DELTAS_MAX:
            try:
                names = yield from self._compact(names)
            except CorruptionError:
                # It is an OSError: below, a corrupt segment would be taken for a full flash.
                raise
            except (OSError, MemoryError):
                # No room in flash or memory: commit without the merge, so that deletes take
                # effect now.
                if len(names) > _SEGMENTS_MAX:
                    raise
        sums = table.sums
        if sums is not None:
            sums = sums_after(sums, self._added, self._removed)
        table.commit(names, minute, self.seconds, sums)

    def _write(self, stream, changes):
        # Writes the codes whose state changes to a segment. Returns its name, "" if no code
        # changes: an answer may repeat thousands of codes without a difference.
        table = self._table
        name = ""
        file = writer = None
        count = 0
        try:
            while stream.at >= 0:
                while changes.read(stream):
                    yield
                old = table.lookup_packed(changes.key)
                if self._differs(changes, old):
                    if not writer:
                        name = table.new_name("delta" if table.names() else "base")
                        file = open(table.folder + "/" + name, "wb")  # noqa: SIM115
                        writer = SegmentWriter(file, changes.rule_sets)
                    writer.add(changes.key, 0, changes.number, changes.rule_set)
                    if old is not None:
                        changes.digest(old, self._removed)
                    if changes.number != TOMBSTONE:
                        changes.digest(changes.rule_set, self._added)
                count += 1
                if count % _LOOKUPS == 0:
                    yield
            if writer:
                writer.finish()
                self.changed = writer.codes + writer.tombstones
        finally:
            if file:
                file.close()
        return name

    def _differs(self, changes, old):
        # Returns whether the change gives the code a rule set other than `old`; `changes` then has
        # the new one.
        if old and not changes.deleted and changes.number != TOMBSTONE:
            changes.union(old)
        elif not changes.deleted and changes.number == TOMBSTONE:
            return False
        return changes.value() != old

    def _compact(self, names):
        # Merges the deltas into one or, if they are large enough, everything into a new base.
        table = self._table
        segments = [table.open_segment(name) for name in reversed(names)]
        try:
            base = segments[-1]
            deltas = sum(segment.size for segment in segments) - base.size
            if deltas * _BASE_SHARE >= base.size:
                name = table.new_name("base")
                yield from self._merge(name, segments, True)
                return [name]
            name = table.new_name("delta")
            yield from self._merge(name, segments[:-1], False)
            return [names[0], name]
        finally:
            for segment in segments:
                segment.close()

    def _merge(self, name, segments, whole):
        # Writes the merged entries of segments to a new one. whole: the base is among them, so
        # that tombstones have nothing left to hide and are dropped.
        entries = MergedEntries(segments, self._changes().rule_sets)
        with open(self._table.folder + "/" + name, "wb") as file:
            writer = SegmentWriter(file, self._changes().rule_sets)
            count = 0
            while entries.next():
                if not whole or entries.number != TOMBSTONE:
                    writer.add(entries.key, 0, entries.number, entries.rule_set)
                count += 1
                if count % STEP == 0:
                    yield
            writer.finish()
