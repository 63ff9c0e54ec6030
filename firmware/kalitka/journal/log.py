"""A durable log in LittleFS: records of 1 to 300 bytes, numbered from 1, the oldest evicted.

Promises: a record is in flash when `append` returns and survives any power cut after that, and a
cut loses no other record; memory does not grow with the log, and opening reads a few KiB of it;
a damaged piece is skipped. An append erases less than a tenth of a block on average. No file
stays open. FORMAT.md has the bytes, the recovery and the wear. The contents of the records are
left to others.
"""

import os
from array import array
from binascii import crc32
from struct import pack_into

from kalitka.table.block import crc_ok
from micropython import const

RECORD_MAX = const(300)
# The highest number: the largest small int on ports with 31-bit small ints. At 5,000 records a
# day it is reached in 588 years; then `append` raises OSError.
LAST = const(0x3FFFFFFF)

# Do not change: in flash (FORMAT.md).
_BLOCK = const(4096)
_GRID = const(1024)  # the unit of reading: no page crosses a multiple of this in its segment
_PAGE = const(128)  # the largest file that LittleFS keeps inline in its metadata
_TAILS = const(9)  # tail files; together they fill a _GRID
_HEAD = const(8)  # bytes of a page before its records
_CHECK = const(4)  # and behind them
_PAGE_MIN = const(14)
_PAGE_MAX = const(314)  # of one large record
_OVERHEAD = const(5)  # blocks: two folders of two, and one to rewrite the last block of a file
_SEGMENTS = const(44)  # at most, so that their names fill less than half a block
_BLOCKS_MIN = const(8)
# Numbers skipped after damage to the newest piece, where the last number is unknown: more than a
# damaged piece can have held, which is at most a _GRID of records of one byte.
_SKIPPED = const(512)
_TRIES = const(3)  # failed reads after which a piece counts as damaged
_ENOENT = const(2)
_EEXIST = const(17)
_ENOSPC = const(28)


class Log:
    """A log in `folder`, which is created if it does not exist. Raises OSError.

    size: bytes of flash that the log may take in all, at least 32 KiB; else ValueError.

    last: the number of the newest record, 0 for none.
    acked: the highest acknowledged record, kept in flash. lost: records evicted before they were
    acknowledged, and those reported as missing to `ack`; kept in flash.
    damaged: pieces found damaged since the log was opened, each a page of up to 128 bytes, one
    large record or a whole KiB.
    keep_from: records from this number on are never evicted; `append` raises OSError (ENOSPC)
    instead.
    """

    def __init__(self, folder: str, size: int):
        blocks = size // _BLOCK - _OVERHEAD
        if blocks < _BLOCKS_MIN - _OVERHEAD:
            raise ValueError("a log takes 32 KiB or more")
        count = (blocks + _SEGMENTS - 1) // _SEGMENTS
        self._room = count * (_BLOCK - 8)  # without what LittleFS needs to chain the blocks
        self._most = blocks // count
        self._folder = folder + "/"
        self._page = bytearray(_PAGE)  # the newest page, also in flash as tail number `_tail`
        self._starts = array("i", [0] * _TAILS)  # the first number of each tail
        self.keep_from = LAST
        self.damaged = 0
        self._seen_in = self._seen_at = 0  # the last place in a segment found damaged
        # The checksum and number of the record whose append failed last; 0 for none.
        self._tried = self._tried_as = 0
        self._recover()
        try:
            # A log that was larger before shrinks now, rather than all at once in an append.
            while len(self._firsts) > self._limit() and self.drop_oldest(LAST):
                pass
        except OSError:
            pass  # an append will do it

    @property
    def first(self) -> int:
        """The number of the oldest record; above `last` if there is none."""
        if self._firsts:
            return self._firsts[0]
        return self._starts[0] if self._tail >= 0 else self.last + 1

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Append a record (1 to RECORD_MAX bytes); return its number once it is durable.

        Raises OSError if the flash is full or fails. The outcome is then unknown: the record may
        turn out to be there after the next start. The log works on, and appending the same record
        again, before any other, leaves it there once.
        """
        size = len(data)
        if not 1 <= size <= RECORD_MAX:
            raise ValueError("a record has 1 to %d bytes" % RECORD_MAX)
        self.refresh()
        check = crc32(data)
        if self._tried_as == self.last and self._tried_as and check == self._tried:
            # The failed append had reached the flash all the same.
            self._tried_as = 0
            return self.last
        number = self.last + 1
        if number > LAST:
            raise OSError(_ENOSPC)
        # Until `_dirty` is cleared the state in memory may differ from the flash: after a failure
        # `refresh` reads it from the flash again.
        self._dirty = True
        self._tried = check
        self._tried_as = number
        size += 1 if size < 0x80 else 2
        end = self._used + size + _CHECK
        large = False
        if not self._used or end > min(_PAGE, self._space - self._sum):
            # The record does not fit into the newest page.
            self._end_page()
            end = _HEAD + size + _CHECK
            large = end > _PAGE
            if large:
                page = bytearray(end)
                self._put(page, _HEAD, data, number)
                self._spill(page)
            else:
                if self._tail + 1 == _TAILS or (self._tail >= 0 and end > self._space - self._sum):
                    self._spill(b"")
                if self._tail < 0:
                    self._find_space(end)
                self._tail += 1
                self._starts[self._tail] = number
        if not large:
            self._put(self._page, self._used or _HEAD, data, number)
            # FORMAT.md, Writing, step 1: LittleFS swaps the file in on close, and until then a
            # power cut leaves the old one. On FAT the truncation would lose the page.
            # Nothing is allocated in between: without memory the file would be left empty.
            view = memoryview(self._page)[:end]
            with open(self._tail_name(self._tail), "wb") as file:
                file.write(view)
            self._used = end - _CHECK
        self.last = number
        self._tried_as = 0
        self._dirty = False
        return number

    def _end_page(self):
        if self._used:
            self._sum += self._used + _CHECK
            self._used = 0

    def _find_space(self, end):
        # Sets how many bytes of tails fit the _GRID of the segment that they will go to; the first
        # page has `end` bytes.
        at = self._at
        space = min(_GRID - at % _GRID, self._room - at)
        if space < end:
            space = min(_GRID, self._room - at - space)
        self._space = _GRID if space < end else space

    def _put(self, page, at, data, number):
        # Puts the record at page[at:] and completes the page's head and checksum.
        if at == _HEAD:
            pack_into("<I", page, 4, number)
        size = len(data)
        if size < 0x80:
            page[at] = size
        else:
            page[at] = size & 0x7F | 0x80
            at += 1
            page[at] = size >> 7
        at += 1
        end = at + size
        page[at:end] = data
        pack_into("<HH", page, 0, end + _CHECK, end + _CHECK ^ 0xFFFF)
        pack_into("<I", page, end, crc32(memoryview(page)[4:end]))

    def _spill(self, page):
        # Appends the tails, and behind them `page` unless it is empty, to the newest segment.
        # FORMAT.md, Writing, step 2: the tails are not touched. A cut before the close leaves the
        # old segment, a cut after it leaves the records twice, and the numbers decide.
        buf = memoryview(bytearray(_PAGE))
        file = None
        at = self._at
        try:
            for k in range(self._tail + 2):
                if k <= self._tail:
                    view, n = self._tail_page(k, buf)
                    if not n:
                        self.damaged += 1
                        continue
                    if _last_in(view, 0, n) <= self._spilled:
                        continue
                elif page:
                    view = page
                    n = len(page)
                else:
                    break
                gap = -at % _GRID
                if n <= gap or not gap:
                    gap = 0
                if not self._firsts or at + gap + n > self._room:
                    if file:
                        file.close()
                        file = None
                    self._begin_segment(_number(view, 4))
                    at = gap = 0
                if not file:
                    file = open(self._name(self._firsts[-1]), "ab")  # noqa: SIM115
                if gap:
                    file.write(bytes(gap))
                file.write(view[:n])
                at += gap + n
        finally:
            if file:
                file.close()
        # Only reached once the segment is closed, so durable: from here on the tails are rubbish.
        self._spilled = self.last + (1 if page else 0)
        self._at = at
        self._sum = self._used = 0
        self._tail = -1

    def _limit(self):
        # Returns how many segments there may be: fewer while the oldest is a large one, of a time
        # when the log had more flash.
        size = self._room
        try:
            size = max(size, os.stat(self._name(self._firsts[0]))[6])
        except (OSError, IndexError):
            pass
        return max(1, self._most * self._room // size)

    def _begin_segment(self, number):
        # Room first: the log never takes more flash than its size.
        while len(self._firsts) >= self._limit():
            following = (self._firsts + [number])[1]
            if following > self.keep_from:
                raise OSError(_ENOSPC)
            self._evict(following)
        open(self._name(number), "wb").close()
        self._firsts.append(number)

    def _evict(self, following):
        lost = self.lost + max(0, following - max(self._firsts[0], self.acked + 1))
        # FORMAT.md, Writing, step 4: the count first. A cut after it leaves a segment below
        # `kept`, which the next start removes, so no loss is counted twice or not at all.
        self._save(self.acked, lost, following)
        os.remove(self._name(self._firsts[0]))
        self._firsts.pop(0)

    def drop_oldest(self, number: int) -> bool:
        """Remove the oldest segment if no record in it is above `number`; never the newest one.

        For a file system that is full. Returns whether a segment was removed. Raises OSError.
        """
        self.refresh()
        if len(self._firsts) < 2 or self._firsts[1] - 1 > number:
            return False
        self._dirty = True
        self._evict(self._firsts[1])
        self._dirty = False
        return True

    def ack(self, number: int, missing: int = 0) -> None:
        """Acknowledge the records up to `number`, durably; `acked` never falls or exceeds `last`.

        missing: records up to `number` that could not be read or were given up; they count as
        lost. Raises OSError: `acked` is then the old one. If the flash cannot be read either the
        outcome is unknown.
        """
        self.refresh()
        number = min(number, self.last)
        if number > self.acked:
            self._dirty = True
            try:
                self._save(number, self.lost + missing, self._kept)
            except OSError:
                # The mark may have reached the flash all the same: then it holds, for `missing`
                # must not be counted twice.
                self.refresh()
                if self.acked < number:
                    raise
            self._dirty = False

    def _save(self, acked, lost, kept):
        data = bytearray(16)
        pack_into("<III", data, 0, acked, lost, kept)
        pack_into("<I", data, 12, crc32(memoryview(data)[:12]))
        # Replaced in one commit, as a tail is: FORMAT.md, Writing, step 1.
        with open(self._folder + "mark", "wb") as file:
            file.write(data)
        self.acked = acked
        self.lost = lost
        self._kept = kept

    def records(self, first: int = 0, buf: bytearray | None = None):
        """Yield (number, bytes) of the records from number `first` on, oldest first.

        Appending meanwhile is allowed: new records are yielded at the end, evicted ones are not.
        buf: 1 KiB that nobody else uses until the end; allocated if None. Raises OSError.
        """
        view = memoryview(buf or bytearray(_GRID))
        # The next number wanted; the segment being read, 0 for the tails; the offset in it.
        place = [first, 0, 0]
        n = self._load(view, place)
        while n >= 0:
            for page, size in _pages(view, n):
                if size < 0:
                    self._add_damage(place[1], place[2] + page)
                    continue
                number = _number(view, page + 4)
                end = page + size - _CHECK
                at = page + _HEAD
                while at < end:
                    begin = at + 1 + (view[at] >> 7)
                    at = _record_end(view, at)
                    if number >= place[0]:
                        place[0] = number + 1
                        yield number, bytes(view[begin:at])
                    number += 1
            place[2] += n
            n = self._load(view, place)

    def _load(self, view, place):
        # Fills the view with whole pages from `place` on; returns the bytes, -1 at the end.
        # Pages never cross a _GRID, so all bytes of the call before were used: a page that does
        # not end within them is damaged.
        self.refresh()
        first, segment, at = place
        while self._firsts and first <= self._spilled:
            firsts = self._firsts
            i = len(firsts) - 1
            while i > 0 and firsts[i] > first:
                i -= 1
            if segment != firsts[i]:
                segment = firsts[i]
                at = self._seek(segment, first, view) if first > segment else 0
            n = read(self._name(segment), at, view[: _GRID - at % _GRID])
            if n > 0:
                place[:] = first, segment, at
                return n
            if n and at < self._room:
                self._add_damage(segment, at)
                at += _GRID - at % _GRID
            else:
                # The end of this segment. Numbers missing up to the next one were damaged.
                first = firsts[i + 1] if i + 1 < len(firsts) else self._spilled + 1
        while first <= self.last:
            k = max(self._tail, 0)
            while k > 0 and self._starts[k] > first:
                k -= 1
            page, n = self._tail_page(k, view)
            if n and _last_in(page, 0, n) >= first:
                if page is not view:
                    view[:n] = page[:n]
                place[:] = first, 0, 0
                return n
            first = self._starts[k + 1] if k < self._tail else self.last + 1
        return -1

    def _seek(self, segment, first, view):
        # Returns where to begin reading for the number `first`, by bisection: the last _GRID known
        # to begin with a number not above it. A damaged _GRID is not known to; pages that were
        # appended twice are complete in the second place as well.
        low = 0
        try:
            with open(self._name(segment), "rb") as file:
                high = (file.seek(0, 2) + _GRID - 1) // _GRID
                while high - low > 1:
                    middle = (low + high) // 2
                    file.seek(middle * _GRID)
                    n = file.readinto(view[:_PAGE_MAX])
                    if _page_size(view, 0, n) > 0 and _number(view, 4) <= first:
                        low = middle
                    else:
                        high = middle
        except OSError:
            pass  # the read that follows meets the error again
        return low * _GRID

    def _add_damage(self, segment, at):
        # Counts each damaged place once, as long as they are met in order.
        if segment > self._seen_in or (segment == self._seen_in and at > self._seen_at):
            self._seen_in = segment
            self._seen_at = at
            self.damaged += 1

    def _tail_page(self, k, view):
        # Returns a tail's page, in `view` or in `_page`, and its size, 0 if damaged.
        if k == self._tail and self._used:
            return memoryview(self._page), self._used + _CHECK
        n = read(self._tail_name(k), 0, view[:_PAGE])
        return view, _page_size(view, 0, n) if n == _page_size(view, 0, n) else 0

    def _tail_name(self, k):
        return self._folder + "tail%d" % k

    def _name(self, first):
        return self._folder + "old/%08x" % first

    def refresh(self) -> None:
        """Read the state from the flash again if an operation failed midway. Raises OSError."""
        if self._dirty:
            self._recover()

    def _recover(self):
        # Sets the state by what is in flash: FORMAT.md, Recovery.
        self._dirty = True
        view = memoryview(bytearray(_GRID))
        folder = self._folder[:-1]
        _uncache(folder)
        try:
            names = os.listdir(folder + "/old")
        except OSError as e:
            if e.errno != _ENOENT:
                raise
            names = ()
            for path in (folder, folder + "/old"):
                try:
                    os.mkdir(path)
                except OSError as fault:
                    if fault.errno != _EEXIST:
                        raise
        self.acked = self.lost = self._kept = 0
        n = read(self._folder + "mark", 0, view[:17])
        if n == 16 and crc_ok(view[:16]):
            self.acked = _number(view, 0)
            self.lost = _number(view, 4)
            self._kept = _number(view, 8)
        elif n:
            # `acked` is 0: entries are sent again, which the hub recognizes, rather than lost.
            self.damaged += 1
        self._firsts = []
        for name in names:
            try:
                number = int(name, 16)
            except ValueError:
                continue
            if name != "%08x" % number:
                continue  # not one of ours
            if number < self._kept:
                os.remove(self._name(number))
            else:
                self._firsts.append(number)
        self._firsts.sort()
        damaged = self.damaged
        self._find_end(view)
        self._find_tails(view)
        if damaged != self.damaged:
            self.last = min(self.last + _SKIPPED * (self.damaged - damaged), LAST)
            self._end_page()
        self._dirty = False

    def _find_end(self, view):
        # Finds the length of the newest segment, and the last number in it.
        self._at = self._spilled = 0
        if not self._firsts:
            return
        segment = self._firsts[-1]
        self._spilled = segment - 1
        name = self._name(segment)
        self._at = os.stat(name)[6]
        at = self._at
        while at > 0 and self._spilled < segment:
            at = (at - 1) // _GRID * _GRID
            n = read(name, at, view)
            if n < 0:
                self.damaged += 1
            for page, size in _pages(view, n):
                if size > 0:
                    self._spilled = _last_in(view, page, size)
                else:
                    self.damaged += 1

    def _find_tails(self, view):
        # Finds the tails above the segment's last number, and loads the newest page.
        self._tail = -1
        self._used = self._sum = self._space = end = 0
        for k in range(_TAILS):
            n = read(self._tail_name(k), 0, view[: _PAGE + 1])
            self._starts[k] = end + 1
            if not n:
                continue
            size = _page_size(view, 0, n)
            if size != n:
                self.damaged += 1
                continue
            if _number(view, 4) <= end:
                break  # this tail and those behind it are of the round before
            self._starts[k] = _number(view, 4)
            self._tail = k
            end = _last_in(view, 0, size)
            if end > self._spilled:
                if self._used:
                    self._end_page()
                else:
                    self._find_space(size)
                self._used = size - _CHECK
                self._page[:size] = view[:size]
        self.last = max(end, self._spilled)
        if end <= self._spilled:
            self._tail = -1


def read(name: str, at: int, view: memoryview) -> int:
    """Read from a file into the view; return the number of bytes.

    0 if the file does not exist, -1 if it still cannot be read after three tries.
    """
    for _ in range(_TRIES):
        try:
            with open(name, "rb") as file:
                file.seek(at)
                return file.readinto(view)
        except OSError as e:
            if e.errno == _ENOENT:
                return 0
            _uncache(name)
    return -1


def _uncache(name):
    # After a failed read LittleFS takes its cache for valid, until it has read another block.
    for _ in range(_TRIES):
        try:
            os.statvfs(name)
            return
        except OSError:
            pass


def _number(view, at):
    return int.from_bytes(view[at : at + 4], "little")


def _page_size(view, at, end):
    # Returns the size of the undamaged page at view[at:end], or minus the bytes to skip.
    if end - at < _PAGE_MIN:
        return -_GRID
    one = view[at] | view[at + 1] << 8
    other = (view[at + 2] | view[at + 3] << 8) ^ 0xFFFF
    for size in (one, other):
        if _PAGE_MIN <= size <= end - at and crc_ok(view[at + 4 : at + size]):
            return size
    return -one if one == other and _PAGE_MIN <= one <= end - at else -_GRID


def _pages(view, n):
    # Yields (offset, size) of each page in view[:n]; of a damaged piece the size is negative.
    at = 0
    while at < n:
        size = _page_size(view, at, n)
        if size < 0 and (n - at < _PAGE_MIN or not any(view[at:n])):
            return  # the zeros that fill a _GRID
        yield at, size
        at += abs(size)


def _last_in(view, at, size):
    # Returns the number of the last record in the page.
    number = _number(view, at + 4) - 1
    end = at + size - _CHECK
    at += _HEAD
    while at < end:
        number += 1
        at = _record_end(view, at)
    return number


def _record_end(view, at):
    # Returns the offset behind the record at view[at].
    size = view[at]
    return at + 1 + size if size < 0x80 else at + 2 + (size & 0x7F | view[at + 1] << 7)
