"""A sort of records in a fixed buffer, and in flash where there are more.

A record is a packed code and a value as in a block: a tombstone for a delete, or a rule, in
place or by its number. Records come in any order; a full buffer is sorted and written out as a
*run* of blocks, and the runs are merged. Promises: memory is bounded whatever the number of
records; nothing is written that the buffer can hold; what changed in the file between writing
and reading raises Damaged; no step works on more than 64 records; `discard` leaves no file.
"""

import os
from array import array

from kalitka import loops
from kalitka.table.block import BlockWriter
from kalitka.table.merge import Merge
from micropython import const

STEP = const(64)  # records between two chances for others to run

# The buffer grows: most polls bring few records. At last it is as large as the heap allows that
# has room left for the rest of the sync: connection, parser, rule sets, what is being written.
_SIZES = ((1024,), (4096,), (18432, 12288, 8192, 6144, 4096))
_RESERVE = const(22)  # KiB that the large buffers leave free, all but the smallest
_PER_RECORD = const(7)  # bytes of buffer to a record, as a rule: a card's code takes so many

_RUN_BLOCK = const(384)  # bytes; holds the longest record, and a merge needs one a run
# What a piece of an answer can bring: below this the buffer is crowded.
_PIECE_BYTES = const(1024)
_PIECE_RECORDS = const(144)


class Sorter:
    """Sorts records. `prefix` is the beginning of the path of the files it may make.

    spilled: whether there are runs.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._data = bytearray()
        self._offsets = array("H")
        self._growth = 0  # how often the buffer has grown
        self._used = 0
        self._count = 0
        self._notes = array("H", [0, 0])  # the longest packed code, and whether order is broken
        self._files = []  # (file, path)
        # Of each run: the number of its file, where it begins there, and its bytes.
        self._runs = array("i")
        self.spilled = False

    @property
    def crowded(self) -> bool:
        """Whether the buffer has to be emptied before the next piece of an answer."""
        return (
            self._growth == len(_SIZES)
            and self._count > 0
            and (self._free_bytes() < _PIECE_BYTES or self._free_records() < _PIECE_RECORDS)
        )

    @property
    def in_order(self) -> bool:
        """Whether all records of the buffer came in code order."""
        return not self._notes[1]

    def fits(self, size: int) -> bool:
        """Tell whether records of so many bytes find room, if need be in a larger buffer.

        Raises MemoryError if they would not even in an empty one.
        """
        # A record has four bytes or more.
        while self._free_bytes() < size or self._free_records() < size // 4:
            if self._growth == len(_SIZES):
                if self._count:
                    return False
                raise MemoryError("no room for records")
            self._grow()
        return True

    def expect_many(self) -> None:
        """Make the buffer large now: the later, the less of the heap is in one piece."""
        self._growth = len(_SIZES) - 1
        self._grow()

    def add(self, records: bytearray, size: int) -> None:
        """Take the records in `records[:size]`; `fits` must have said that they do."""
        end = self._used + size
        self._data[self._used : end] = memoryview(records)[:size]
        self._count = loops.list_records(
            self._data, self._used, end, self._offsets, self._count, self._notes
        )
        self._used = end

    def clear(self) -> None:
        """Forget the records of the buffer."""
        self._used = self._count = 0
        self._notes[1] = 0

    def keep_from(self, record: int) -> None:
        """Forget the records before the one of this number, counted from 0."""
        begin = self._offsets[record] if record < self._count else self._used
        data = self._data[begin : self._used]
        self.clear()
        self.add(data, len(data))

    def whole_codes(self) -> int:
        """Return how many records are in order and of codes before the last one, of which more
        may come; 0 if the records are not in order.
        """
        if not self.in_order:
            return 0
        data = self._data
        offsets = self._offsets
        count = self._count - 1
        while count and not loops.order(data, offsets[count - 1], data, offsets[count]):
            count -= 1
        return count

    def first(self, count: int) -> "Sorted":
        """Return the stream of the buffer's first records (so many), which came in order."""
        # Offsets in order are a heap already.
        return Sorted(self._data, self._offsets, count)

    def stream(self):
        """Return the stream of all records in code order: a generator that ends in it.

        To be used as `stream = yield from sorter.stream()`. Takes the records with it.
        """
        if self.spilled:
            if self._count:
                yield from self.spill()
            return (yield from self._merged())
        return (yield from self._sorted())

    def spill(self):
        """Write the records of the buffer out as a run. Yields between steps."""
        stream = yield from self._sorted()
        if not self._files:
            self._open()
        yield from self._write(stream)
        self.clear()

    def discard(self) -> None:
        """Remove every file and forget the records."""
        self.clear()
        self._data = bytearray()
        self._offsets = array("H")
        self._growth = 0
        self._runs = array("i")
        while self._files:
            _close(*self._files.pop())

    def _free_bytes(self):
        return len(self._data) - self._used

    def _free_records(self):
        return len(self._offsets) - self._count

    def _grow(self):
        kept = self._data[: self._used]
        sizes = _SIZES[self._growth]
        self._growth += 1
        for size in sizes:
            self._data = bytearray()
            self._offsets = array("H")
            try:
                self._offsets = array("H", bytes(size // _PER_RECORD * 2))
                self._data = bytearray(size)
                if size != sizes[-1]:
                    [bytearray(1024) for _ in range(_RESERVE)]
                break
            except MemoryError:
                if size == sizes[-1]:
                    raise
        self.clear()
        self.add(kept, len(kept))

    def _sorted(self):
        # The buffer as a heap, least record first.
        for i in range(-1 if self.in_order else self._count // 2 - 1, -1, -1):
            loops.sift(self._data, self._offsets, self._count, i, self._offsets[i], 1)
            if i % STEP == 0:
                yield
        return Sorted(self._data, self._offsets, self._count)

    def _open(self):
        path = "%s%d.tmp" % (self._prefix, len(self._files) + 1)
        # Open until the sort is over.
        self._files.append((open(path, "w+b"), path))  # noqa: SIM115
        self._end = 0

    def _write(self, stream):
        # Writes a stream behind what the newest file has, as a run.
        file = self._files[-1][0]
        writer = BlockWriter(_RUN_BLOCK)
        begin = self._end
        while stream.at >= 0:
            if writer.pour(stream, None, STEP) == STEP:
                yield
            if writer.stopped == loops.FULL:
                self._end += file.write(writer.take(True))
        self._end += file.write(writer.take(False))
        for number in (len(self._files) - 1, begin, self._end - begin):
            self._runs.append(number)
        self.spilled = True

    def _merged(self):
        self._offsets = array("H")  # all records are in runs
        fan_in = len(self._data) // (self._notes[0] + _RUN_BLOCK)
        while len(self._runs) // 3 > fan_in:
            # Into a file of their own: where reading and writing take turns in one file,
            # LittleFS copies the block at its end each time.
            merged = min(fan_in, len(self._runs) // 3 - fan_in + 1)
            self._open()
            yield from self._write(self._merge(merged))
            self._runs = self._runs[3 * merged :]
            self._close_first()
        return self._merge(len(self._runs) // 3)

    def _close_first(self):
        # Removes the files before that of the first run: they take room that others need.
        for number in range(self._runs[0]):
            if self._files[number]:
                _close(*self._files[number])
                self._files[number] = ()

    def _merge(self, count):
        # The merge of the first runs, so many.
        sources = []
        for i in range(0, 3 * count, 3):
            number, begin, size = self._runs[i : i + 3]
            sources.append(self._files[number] + (begin, size))
        return Merge(sources, self._data, self._notes[0], _RUN_BLOCK)


def _close(file=None, path=""):
    # A full or worn flash: what is left costs room, and the next start tries again.
    if file:
        for step, what in ((file.close, ()), (os.remove, (path,))):
            try:
                step(*what)
            except OSError:
                pass


class Sorted:
    """The stream of a heap's records, least first; uses the heap up. See `merge`."""

    stride = 1
    room = 0

    def __init__(self, buf, heap, count):
        self.buf = buf
        self.heap = self.state = heap
        self.count = count
        self._look()

    def next(self) -> None:
        """Go on to the next record."""
        self.count -= 1
        if self.count:
            loops.sift(self.buf, self.heap, self.count, 0, self.heap[self.count], 1)
        self._look()

    def flowed(self, count: int, stopped: int) -> None:
        """Take note that records were taken by `loops.flow`."""
        self.count = count
        self._look()

    def _look(self):
        if self.count:
            self.at = self.heap[0]
            self.value = self.at + self.buf[self.at + 1] + 3
        else:
            self.at = -1
