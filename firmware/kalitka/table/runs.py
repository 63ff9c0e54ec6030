"""An external sort in a fixed buffer: records of any number, sorted by their bytes.

Records are collected in memory up to a bound, sorted, and written out as runs; reading back
merges the runs. Promises: memory is bounded whatever the number of records; records that come
sorted are never merged; no step writes more than one 4 KiB block; `discard` leaves no file.
"""

import os
from array import array
from struct import pack_into

from micropython import const

# One flash block of records, each with its length before it, as in the run files. They lie in
# one buffer because thousands of small live objects would leave the heap in splinters.
_BUFFER = const(4096)
_HEAD = const(2)
_RECORDS_MAX = const(256)
_FAN_IN = const(6)  # runs merged at once: each open file costs a buffer
_STEP = const(64)  # records between two chances for others to run


class Runs:
    """Sorts records. `prefix` is the beginning of the path of the files it may make."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._made = 0
        # Made with the first record: most polls bring none.
        self._data = bytearray()
        self._order = array("H")  # offsets into _data, sorted by record
        self._used = 0
        self._count = 0
        self._paths = []
        self._last = b""  # the last record written out

    def add(self, record: bytes) -> None:
        """Take one record (bytes, at most 4094)."""
        if not self._data:
            self._data = bytearray(_BUFFER)
            self._order = array("H", bytes(2 * _RECORDS_MAX))
        size = len(record)
        if self._used + _HEAD + size > _BUFFER or self._count == _RECORDS_MAX:
            self._spill()
        place = self._place_of(record)
        order = self._order
        order[place + 1 : self._count + 1] = order[place : self._count]
        order[place] = at = self._used
        pack_into("<H", self._data, at, size)
        self._data[at + _HEAD : at + _HEAD + size] = record
        self._used = at + _HEAD + size
        self._count += 1

    def reduce(self):
        """Merge until few enough runs are left to be read at once. Yields between steps."""
        if self._paths and self._count:
            self._spill()
        while len(self._paths) > _FAN_IN:
            merged = self._paths[:_FAN_IN]
            path = self._new_path()
            self._paths.append(path)
            stream = merge([_read_run(p) for p in merged])
            try:
                with open(path, "wb") as file:
                    for count, record in enumerate(stream):
                        file.write(bytes((len(record) & 0xFF, len(record) >> 8)))
                        file.write(record)
                        if count % _STEP == _STEP - 1:
                            yield
            finally:
                stream.close()
            self._paths = self._paths[_FAN_IN:]
            for p in merged:
                os.remove(p)

    def sorted(self):
        """Return a generator of all records in order. `reduce` must have come first.

        May be called again; whoever does not read it to its end closes it.
        """
        if self._paths:
            return merge([_read_run(path) for path in self._paths])
        return (bytes(self._record(i)) for i in range(self._count))

    def discard(self) -> None:
        """Remove every file and forget the records."""
        while self._paths:
            try:
                os.remove(self._paths.pop())
            except OSError:  # it costs room, not correctness: the next start tries again
                pass
        self._used = self._count = 0

    def _record(self, i):
        at = self._order[i]
        return self._data[at + _HEAD : at + _HEAD + (self._data[at] | self._data[at + 1] << 8)]

    def _place_of(self, record):
        # Behind everything that is not above it. Sorted input is found at once.
        low = 0
        high = self._count
        middle = high - 1
        while low < high:
            if record < self._record(middle):
                high = middle
            else:
                low = middle + 1
            middle = (low + high) >> 1
        return low

    def _new_path(self):
        self._made += 1
        return "%s%d.tmp" % (self._prefix, self._made)

    def _spill(self):
        # Records that go on where the last run ended belong to that run.
        goes_on = self._paths and self._last <= self._record(0)
        if not goes_on:
            self._paths.append(self._new_path())
        data = memoryview(self._data)
        with open(self._paths[-1], "ab" if goes_on else "wb") as file:
            for i in range(self._count):
                at = self._order[i]
                file.write(data[at : at + _HEAD + (data[at] | data[at + 1] << 8)])
        self._last = bytes(self._record(self._count - 1))
        self._used = self._count = 0


def merge(sources):
    """Merge sorted generators of comparable items into one sorted stream; equal ones all come.

    Sources are generators; those that are left are closed when the stream is.
    """
    heads = []
    try:
        for source in sources:
            item = next(source, None)
            if item is not None:
                heads.append([item, source])
        while heads:
            # Few sources: looking at each beats keeping a heap.
            least = heads[0]
            for head in heads:
                if head[0] < least[0]:
                    least = head
            yield least[0]
            least[0] = next(least[1], None)
            if least[0] is None:
                heads.remove(least)
    finally:
        for _, source in heads:
            source.close()


def _read_run(path):
    with open(path, "rb") as file:
        while True:
            head = file.read(2)
            if len(head) < 2:
                return
            yield file.read(head[0] | head[1] << 8)
