"""A sort of records in a fixed buffer, and in flash where there are more.

Records, as of `sync_native`, come in any order; a full buffer is sorted and written out as a *run*
of blocks, and the runs are merged. Promises: memory is bounded whatever the number of records,
and known beforehand: it is never found out by trying how much there is; nothing is written that
the buffer can hold; what changed in the file between writing and reading raises CorruptionError;
no step works on more than 64 records; `discard` leaves no file.
"""

import os
from array import array

from kalitka import sync_native
from kalitka.table.writers import BlockWriter
from micropython import const

STEP = const(64)  # records between two chances for others to run

# Bytes of the buffer: most polls bring few records, and it grows once. A full sync takes the
# large one at once, and 2.3 KiB that say where the records are: two fifths of what it takes of the
# heap. Less of it costs time: 5 KiB twice as much a line. In a merge the buffer has a block of
# each run; if there are more, some are merged before.
_SMALL = const(1024)
LARGE = const(8192)
_PER_RECORD = const(7)  # bytes of buffer to a record, as a rule: a card's code takes so many

# Bytes of a run's block, by those of the longest packed code in it: it holds the longest record.
# The smaller, the more runs are merged at once; but each costs the time of ten records.
_BLOCKS = ((64, 192), (257, 384))
# What a piece of an answer brings, with the room for a record that is not known yet: below this
# the buffer is crowded. A piece that brings more is taken all the same, in one long step.
_PIECE_BYTES = const(816)
_PIECE_RECORDS = const(110)

# Of the text cache: two hundred texts as long as that of a rule of day times fit. A line whose
# text found no room there takes twice the time.
_TEXTS = const(2304)  # bytes
_SLOTS = const(256)

_GAPS = (301, 132, 57, 23, 10, 4, 1)  # of Shell's sort: Ciura's
_STEP_OF_ONE_GAP = const(256)  # a fraction of the work that sorting 64 records is

# `notes`, an array("H") that `sync_native.pack_lines` keeps.
_USED = const(0)  # bytes of the buffer
_COUNT = const(1)  # records in it
_ROOM = const(2)  # bytes that it has
_MOST = const(3)  # records that there can be
_LONGEST = const(4)  # packed code so far, in bytes
_BROKEN = const(5)  # 1 if a code was below the one before it
_COMMON = const(6)  # bytes that all codes have in common at their beginning
# The rest is the text cache's: bytes of it in use, 7; how many slots there are, less one; bytes
# that there are; texts in it, 10; how many there can be.
_MASK = const(8)
_TEXTS_ROOM = const(9)
_TEXTS_MOST = const(11)
_NOTES = const(12)
_ANY = const(0xFFFF)  # bytes in common, of no codes


class Sorter:
    """Sorts records. `prefix` is the beginning of the path of the files it may make.

    buffer: a bytearray of LARGE bytes to work in, None to begin with a small one.

    buf, offsets, notes: the records, as `sync_native.pack_lines` makes them; they are others after
    `spill`. spilled: whether there are runs.
    """

    def __init__(self, prefix: str, buffer: bytearray | None):
        self._prefix = prefix
        self.notes = array("H", bytes(2 * _NOTES))
        self.notes[_COMMON] = _ANY
        self._large = buffer is not None
        self._use(buffer if buffer is not None else bytearray(_SMALL))
        self._first = b""  # a code of the first buffer that was sorted
        self._files = []  # (file, path)
        # Of each run: the number of its file, where it begins there, its bytes, those of a block.
        self._runs = array("i")
        self.spilled = False

    @property
    def crowded(self) -> bool:
        """Whether the buffer has to be emptied before the next piece of an answer."""
        notes = self.notes
        return self._large and (
            notes[_ROOM] - notes[_USED] < _PIECE_BYTES
            or notes[_MOST] - notes[_COUNT] < _PIECE_RECORDS
        )

    @property
    def in_order(self) -> bool:
        """Whether all records of the buffer came in code order."""
        return not self.notes[_BROKEN]

    def grow(self) -> bool:
        """Make the buffer large; return False if it is."""
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
        """Take a record (bytes-like); return False if there is no room for it."""
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
        """Forget the records of the buffer."""
        notes = self.notes
        notes[_USED] = notes[_COUNT] = notes[_BROKEN] = 0

    def skip(self) -> None:
        """Forget the records of the buffer, but not that they were out of order."""
        self.notes[_USED] = self.notes[_COUNT] = 0

    def keep_from(self, record: int) -> None:
        """Forget the records before the one of this number, counted from 0."""
        notes = self.notes
        begin = self.offsets[record] if record < notes[_COUNT] else notes[_USED]
        kept = self.buf[begin : notes[_USED]]
        places = self.offsets[record : notes[_COUNT]]
        self.clear()
        for i, place in enumerate(places):
            end = places[i + 1] - begin if i + 1 < len(places) else len(kept)
            self.add(kept[place - begin : end])

    def whole_codes(self) -> int:
        """Return how many records are in order and of codes before the last one, of which more
        may come; 0 if the records are not in order.
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
        """Return the stream of the buffer's first records (so many), which came in order."""
        return Sorted(self.buf, self.offsets, count, self._common())

    def stream(self):
        """Return the stream of all records in code order: a generator that ends in it.

        To be used as `stream = yield from sorter.stream()`. Takes the records with it.
        """
        if self.spilled:
            if self.notes[_COUNT]:
                yield from self.spill()
            return (yield from self._merged())
        return (yield from self._sorted())

    def spill(self):
        """Write the records of the buffer out as a run. Yields between steps."""
        stream = yield from self._sorted()
        if not self._files:
            self._open()
        yield from self._write(stream, self._block_size())
        self.clear()

    def discard(self) -> None:
        """Remove every file and forget the records, and the memory they had."""
        self.notes[_USED] = self.notes[_COUNT] = self.notes[_ROOM] = self.notes[_MOST] = 0
        self.buf = bytearray()
        self.offsets = array("H")
        self._runs = array("i")
        while self._files:
            _close(*self._files.pop())

    def _use(self, buffer):
        most = len(buffer) // _PER_RECORD
        self.buf = buffer
        self.offsets = array("H", bytes(2 * most))
        self.notes[_ROOM] = len(buffer)
        self.notes[_MOST] = most

    def _sorted(self):
        # The buffer's records, least first.
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
        # Bytes that all codes have in common so far: what those of this buffer have they may not
        # have with those before.
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
        path = "%s%d.tmp" % (self._prefix, len(self._files) + 1)
        # Open until the sort is over.
        self._files.append((open(path, "w+b"), path))  # noqa: SIM115
        self._end = 0

    def _write(self, stream, block):
        # Writes a stream behind what the newest file has, as a run.
        file = self._files[-1][0]
        writer = BlockWriter(block)
        begin = self._end
        done = 0
        while stream.at >= 0:
            # A block may be full before so many are done: they are counted over all of them.
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
            # Into a file of their own: where reading and writing take turns in one file,
            # LittleFS copies the block at its end each time.
            merged = min(fan_in, len(self._runs) // 4 - fan_in + 1)
            self._open()
            yield from self._write(self._merge(merged, block), block)
            self._runs = self._runs[4 * merged :]
            self._close_first()
        return self._merge(len(self._runs) // 4, block)

    def _close_first(self):
        # Removes the files before that of the first run: they take room that others need.
        for number in range(self._runs[0]):
            if self._files[number]:
                _close(*self._files[number])
                self._files[number] = ()

    def _merge(self, count, block):
        # The merge of the first runs, so many.
        from kalitka.table.merge import Merge

        longest, common = self.notes[_LONGEST], self.notes[_COMMON]
        return Merge(count, self._run, self.buf, longest, block, common)

    def _run(self, i):
        # The run of a number, as of `read_block`. Made when asked for: dozens would take as much
        # memory as half of the buffer.
        number, begin, size, block = self._runs[4 * i : 4 * i + 4]
        return self._files[number] + (begin, size, block)


def _close(file=None, path=""):
    # A full or worn flash: what is left costs room, and the next start tries again.
    if file:
        for step, what in ((file.close, ()), (os.remove, (path,))):
            try:
                step(*what)
            except OSError:
                pass


class Sorted:
    """The stream of records that are in code order. See `merge`."""

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
        """Go on to the next record."""
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
    """Texts of rules that have got a number, so that most lines need not look at their rule.

    texts, slots: as `sync_native.pack_lines` has them: of each text its size in bytes, the number
    and the text itself, four bits a character; and a hash table of where each begins, plus one.
    """

    def __init__(self, notes: array, large: bool):
        texts, slots = (_TEXTS, _SLOTS) if large else (0, 1)
        self.texts = bytearray(texts)
        self.slots = array("H", bytes(2 * slots))
        notes[_MASK] = slots - 1
        notes[_TEXTS_ROOM] = texts
        notes[_TEXTS_MOST] = slots * 3 // 4
