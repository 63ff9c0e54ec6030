"""An external sort of records: in a fixed buffer, and in flash if they do not fit.

Records, see `sync_native`, come in any order; a full buffer is sorted and written out as a *run*
of blocks, and the runs are merged. Promises: memory is bounded whatever the number of records, by
a fixed size that is never probed for; records that fit the buffer are not written; a run that
changed between writing and reading raises CorruptionError; no step works on more than 64 records;
`discard` leaves no file.
"""

import os
from array import array

from kalitka import sync_native
from kalitka.table.writers import BlockWriter
from micropython import const

STEP = const(64)  # records between two yields to other tasks

# Bytes of the buffer: most polls bring few records, so it starts small and grows once. A full sync
# takes the large buffer at once, and 2.3 KiB for the records' offsets: together two fifths of its
# heap. A smaller one costs time: with 5 KiB a line takes twice as long. In a merge the buffer
# holds a block of each run; if there are more runs, some are merged before.
_SMALL = const(1024)
LARGE = const(8192)
_PER_RECORD = const(7)  # bytes of buffer a record: those of a card's record

# (longest packed code, bytes of a run's block): a block holds the longest record. The smaller the
# block, the more runs are merged at once; but each block costs the time of ten records.
_BLOCKS = const(((64, 192), (257, 384)))
# The buffer is crowded with less free space than this: enough for a piece of an answer, and for
# one record of unknown size. A piece that brings more is taken too, in one long step.
_PIECE_BYTES = const(816)
_PIECE_RECORDS = const(110)

# Of the text cache: two hundred rules of day times fit. A line whose rule found no room there
# takes twice the time.
_TEXTS = const(2304)  # bytes
_SLOTS = const(256)

_GAPS = const((301, 132, 57, 23, 10, 4, 1))  # of Shell's sort: Ciura's
_STEP_OF_ONE_GAP = const(256)  # records a step at one gap: a fraction of the work of sorting 64

# Indices of `notes`, an array("H") that `sync_native` updates. Do not renumber: its viper code has
# these numbers as literals.
_USED = const(0)  # bytes of the buffer in use
_COUNT = const(1)  # records in the buffer
_ROOM = const(2)  # bytes of the buffer
_MOST = const(3)  # most records the buffer can have
_LONGEST = const(4)  # bytes of the longest packed code so far
_BROKEN = const(5)  # 1 if a code was below the one before it
_COMMON = const(6)  # length of the prefix that all codes share
# The text cache's: 7 bytes in use; 8 slots less one; 9 bytes; 10 texts; 11 most texts.
_MASK = const(8)
_TEXTS_ROOM = const(9)
_TEXTS_MOST = const(11)
_NOTES = const(12)  # how many there are
_ANY = const(0xFFFF)  # the shared prefix while there is no code


class Sorter:
    """An external sort. `prefix` is the beginning of the paths of its files.

    buffer: the working buffer, a bytearray of LARGE bytes; None to start with a small one.

    buf, offsets, notes: the records, see `sync_native.pack_lines`; `grow` and `discard` replace
    them. spilled: whether there are runs.
    """

    def __init__(self, prefix: str, buffer: bytearray | None):
        self._name = prefix
        self.notes = array("H", bytes(2 * _NOTES))
        self.notes[_COMMON] = _ANY
        self._large = buffer is not None
        self._use(buffer if buffer is not None else bytearray(_SMALL))
        self._first = b""  # a packed code of the first buffer that was sorted
        self._files = []  # (file, path); () for a file that was removed
        # Of each run: the number of its file, its offset there, its bytes, the bytes of a block.
        self._runs = array("i")
        self.spilled = False

    @property
    def crowded(self) -> bool:
        """Whether the buffer must be emptied before the next piece of an answer."""
        notes = self.notes
        return self._large and (
            notes[_ROOM] - notes[_USED] < _PIECE_BYTES
            or notes[_MOST] - notes[_COUNT] < _PIECE_RECORDS
        )

    @property
    def in_order(self) -> bool:
        """Whether all records of the buffer arrived in code order."""
        return not self.notes[_BROKEN]

    def grow(self) -> bool:
        """Make the buffer large; return False if it is large already."""
        if self._large:
            return False
        self._large = True
        kept = self.buf
        size = self.notes[_USED]
        offsets = self.offsets
        self._use(bytearray(LARGE))
        memoryview(self.buf)[:size] = memoryview(kept)[:size]
        for i in range(self.notes[_COUNT]):
            self.offsets[i] = offsets[i]
        return True

    def add(self, record) -> bool:
        """Add a record (bytes-like); return False if there is no room for it."""
        notes = self.notes
        at = notes[_USED]
        end = at + len(record)
        if end > notes[_ROOM] or notes[_COUNT] == notes[_MOST]:
            return False
        memoryview(self.buf)[at:end] = record
        sync_native.add_record(self.buf, at, self.offsets, notes)
        notes[_USED] = end
        return True

    def clear(self) -> None:
        """Drop the records of the buffer, and whether they were in order."""
        notes = self.notes
        notes[_USED] = notes[_COUNT] = notes[_BROKEN] = 0

    def skip(self) -> None:
        """Drop the records of the buffer, but remember whether they were in order."""
        self.notes[_USED] = self.notes[_COUNT] = 0

    def keep_from(self, record: int) -> None:
        """Drop the records before number `record`, counted from 0."""
        notes = self.notes
        begin = self.offsets[record] if record < notes[_COUNT] else notes[_USED]
        kept = self.buf[begin : notes[_USED]]
        places = self.offsets[record : notes[_COUNT]]
        self.clear()
        for i, place in enumerate(places):
            end = places[i + 1] - begin if i + 1 < len(places) else len(kept)
            self.add(kept[place - begin : end])

    def whole_codes(self) -> int:
        """Return how many records belong to codes before the last one, 0 if not in code order.

        Those codes are complete; of the last one more records may come.
        """
        if not self.in_order:
            return 0
        buf = self.buf
        offsets = self.offsets
        count = max(self.notes[_COUNT] - 1, 0)
        while count and not sync_native.compare(buf, offsets[count - 1], buf, offsets[count]):
            count -= 1
        return count

    def first(self, count: int) -> "Sorted":
        """Return the stream of the buffer's first `count` records, which must be in order."""
        return Sorted(self.buf, self.offsets, count, self._common())

    def stream(self):
        """Return the stream of all records in code order: a generator with this return value.

        To be used as `stream = yield from sorter.stream()`. The stream uses the sorter's buffer:
        no records can be added afterwards.
        """
        if self.spilled:
            if self.notes[_COUNT]:
                yield from self.spill()
            return (yield from self._merged())
        return (yield from self._sorted())

    def spill(self):
        """Write the records of the buffer to flash as a run. Yields between steps."""
        stream = yield from self._sorted()
        if not self._files:
            self._open()
        yield from self._write(stream, self._block_size())
        self.clear()

    def discard(self) -> None:
        """Remove every file; drop the records and free their memory. Never raises."""
        self.notes[_USED] = self.notes[_COUNT] = self.notes[_ROOM] = self.notes[_MOST] = 0
        while self._files:
            _close(self._files.pop())
        try:
            self.buf = bytearray()
            self.offsets = array("H")
            self._runs = array("i")
        except MemoryError:  # not even for these: then it is freed with the sorter
            pass

    def _use(self, buffer):
        most = len(buffer) // _PER_RECORD
        self.buf = buffer
        self.offsets = array("H", bytes(2 * most))
        self.notes[_ROOM] = len(buffer)
        self.notes[_MOST] = most

    def _sorted(self):
        # Sorts the buffer's records; a generator that returns their stream. Yields between steps.
        count = self.notes[_COUNT]
        if not self.in_order:
            common = self._common()
            for gap in _GAPS:
                for begin in range(gap, count, _STEP_OF_ONE_GAP):
                    end = min(begin + _STEP_OF_ONE_GAP, count)
                    sync_native.sort_step(gap, begin, end, self.buf, self.offsets, common)
                    yield
        return Sorted(self.buf, self.offsets, count, self._common())

    def _common(self):
        # Returns the length of the prefix that all codes so far share. `notes` compares within a
        # buffer only: its codes may share less with those of the buffers before.
        notes = self.notes
        if notes[_COUNT]:
            at = self.offsets[0]
            if self._first:
                same = sync_native.shared(self.buf, at, self._first, 0)
                notes[_COMMON] = min(notes[_COMMON], same)
            else:
                self._first = bytes(self.buf[at : at + self.buf[at + 1] + 3])
        return notes[_COMMON]

    def _block_size(self):
        longest = self.notes[_LONGEST]
        return next(block for code, block in _BLOCKS if longest <= code)

    def _open(self):
        path = "%s%d.tmp" % (self._name, len(self._files) + 1)
        # Open until `discard`.
        self._files.append((open(path, "w+b"), path))  # noqa: SIM115
        self._end = 0

    def _write(self, stream, block):
        # Appends a stream to the newest file as a run.
        file = self._files[-1][0]
        writer = BlockWriter(block)
        begin = self._end
        done = 0
        while stream.at >= 0:
            # A block may be full before STEP records are done: they are counted over all blocks.
            done += writer.extend(stream, None, STEP - done)
            if done == STEP:
                done = 0
                yield
            if writer.stopped == sync_native.FULL:
                continued = not sync_native.compare(writer.last, 0, stream.buf, stream.at)
                self._end += file.write(writer.finish(True, continued))
        self._end += file.write(writer.finish(False))
        for number in (len(self._files) - 1, begin, self._end - begin, block):
            self._runs.append(number)
        self.spilled = True

    def _merged(self):
        self.offsets = array("H")  # all records are in runs
        block = self._block_size()
        fan_in = len(self.buf) // (self.notes[_LONGEST] + block)
        while len(self._runs) // 4 > fan_in:
            # Into a new file: if reads and writes alternate in one file, LittleFS copies its last
            # block each time.
            merged = min(fan_in, len(self._runs) // 4 - fan_in + 1)
            self._open()
            yield from self._write(self._merge(merged, block), block)
            self._runs = self._runs[4 * merged :]
            self._close_first()
        return self._merge(len(self._runs) // 4, block)

    def _close_first(self):
        # Removes the files before that of the first run: the merges need their room in flash.
        for number in range(self._runs[0]):
            _close(self._files[number])
            self._files[number] = ()

    def _merge(self, count, block):
        # Returns the merge of the first `count` runs.
        from kalitka.table.merge import Merge

        longest, common = self.notes[_LONGEST], self.notes[_COMMON]
        return Merge(count, self._run, self.buf, longest, block, common)

    def _run(self, i):
        # Returns run `i` as a source, see `block.fill`. Made on demand: dozens of these tuples
        # would take as much memory as half of the buffer.
        number, begin, size, block = self._runs[4 * i : 4 * i + 4]
        return self._files[number] + (begin, size, block)


def _close(file):
    # A full or worn flash raises OSError, and a removal takes some memory: a file left behind
    # costs room, and the next start tries to remove it again.
    if file:
        try:
            file[0].close()
        except OSError:
            pass
        try:
            os.remove(file[1])
        except OSError:
            pass
        except MemoryError:  # by itself: the tuple of the two would need some
            pass


class Sorted:
    """The stream of records in a buffer, in code order; see `merge` for streams."""

    stride = 1
    room = 0

    def __init__(self, buf: bytearray, offsets: array, count: int, common: int):
        self.buf = buf
        self.common = common
        self.heap = self.state = self.keys = offsets
        self.place = 0
        self.count = count
        self._update()

    def next(self) -> None:
        """Move to the next record."""
        self.advance(self.count - 1, self.place + 1, 0)

    def advance(self, count: int, place: int, stopped: int) -> None:
        """Continue behind the records that `sync_native.merge` wrote."""
        self.count = count
        self.place = place
        self._update()

    def _update(self):
        if self.count:
            self.at = self.heap[self.place]
            self.value = self.at + self.buf[self.at + 1] + 3
        else:
            self.at = -1


class TextCache:
    """A cache from the texts of rules to their numbers: most lines need no parsing of the rule.

    texts: of each text its size in bytes, the number and the text itself, four bits a character.
    slots: a hash table of the texts' offsets, plus one. Both are used by `sync_native.pack_lines`,
    which keeps their sizes in `notes`.
    """

    def __init__(self, notes: array, large: bool):
        texts, slots = (_TEXTS, _SLOTS) if large else (0, 1)
        self.texts = bytearray(texts)
        self.slots = array("H", bytes(2 * slots))
        notes[_MASK] = slots - 1
        notes[_TEXTS_ROOM] = texts
        notes[_TEXTS_MOST] = slots * 3 // 4
