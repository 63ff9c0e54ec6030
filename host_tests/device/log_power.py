"""Power cuts in the durable log, in a real LittleFS: at every operation of a few things it does.

A *story* is a log and some steps: bytes are appended, a number is set as the mark. After a cut
at any program or erase the file system mounts, what was acknowledged is there in its order, none
twice, the one in the making or not, the mark is the old one or the new one, and it goes on. Then
that going on is cut in the same way. MicroPython only.
"""

from hashlib import md5

import vfs

from device.power import KINDS, CutDisk, make_file_system, mount
from device.ramdisk import RamDisk
from kalitka.journal.log import Log

_PLACE = "/cut"
_FOLDER = _PLACE + "/log"
_SIZE = 32768  # three segments of one block
_BLOCKS = 20


def record(number, size=20):
    """Return a record that no other number has."""
    return (b"%d " % number * size)[:size]


class LogModel:
    """What a log has acknowledged, by `live`; and what it was about to."""

    def __init__(self):
        self.records = []
        self.making = None
        self.marks = (0, 0)

    def copy(self):
        """Return one like it."""
        other = LogModel()
        other.records = self.records[:]
        other.making = self.making
        other.marks = self.marks
        return other

    def live(self, log, steps):
        """Do the steps, and write down what was acknowledged. Raises OSError as the log does."""
        for step in steps:
            if isinstance(step, int):
                self.marks = (self.marks[0], max(step, self.marks[0]))
                log.ack(step)
                self.marks = (self.marks[1], self.marks[1])
                assert log.acked == self.marks[0]
            else:
                self.making = step
                assert log.append(step) == len(self.records) + 1
                self.records.append(step)
                self.making = None

    def follow(self, number, data):
        """Write down `data`, appended as `number` after something that failed."""
        if number == len(self.records) + 2:
            self.records.append(self.making)
        self.making = None
        self.records.append(data)
        assert number == len(self.records)

    def check(self, log, first=1):
        """Check what the log has: from number `first` on nothing may be missing."""
        found = list(log.records())
        for number, data in found:
            if number == len(self.records) + 1 and data == self.making:
                self.records.append(data)
            assert data == self.records[number - 1], (number, data)
        self.making = None
        numbers = [number for number, _ in found]
        assert numbers == list(range(log.first, len(self.records) + 1)), numbers
        assert log.first <= first and log.last == len(self.records), (log.first, log.last)
        assert log.acked in self.marks, (log.acked, self.marks)
        self.marks = (log.acked, log.acked)
        # The mark may have moved on since they gave way.
        assert max(0, log.first - 1 - log.acked) <= log.lost <= log.first - 1, log.lost
        assert not log.damaged


def powered(disk, work):
    """Mount, open the log and do `work(log)`; return False if the power went meanwhile."""
    try:
        mount(disk, _PLACE)
    except OSError:
        return False
    try:
        work(Log(_FOLDER, _SIZE))
        return True
    except OSError:
        return False
    finally:
        vfs.umount(_PLACE)


class Story:
    """A log made by the steps `before` (None for an empty file system), and some `steps`.

    firsts: the oldest number before the steps, after them, after going on, and after going on once
    more.
    """

    def __init__(self, before, steps):
        self._steps = steps
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        self._view = memoryview(self._data)
        make_file_system(CutDisk(self._data))
        self._before = LogModel()
        if before is not None:
            assert powered(CutDisk(self._data), lambda log: self._before.live(log, before))
        self._image = bytes(self._data)
        model = self._before.copy()
        firsts = []

        def work(log):
            firsts.append(log.first)
            model.live(log, steps)
            firsts.append(log.first)
            # Going on gives way to more.
            for _ in range(2):
                model.live(log, self._more(model))
                firsts.append(log.first)

        disk = CutDisk(self._data)
        assert powered(disk, lambda log: self._before.copy().live(log, steps))
        self.operations = disk.operations
        self._view[:] = self._image
        assert powered(CutDisk(self._data), work), "not even without a cut"
        self.firsts = firsts
        self._looked_at = set()
        self.cuts = self.second_cuts = 0

    def _more(self, model):
        # Going on: into another page, with a mark in between.
        number = len(model.records)
        more = [record(number + n, 25) for n in range(1, 6)]
        return more + [max(number, model.marks[1])] + [record(number + 6, 200)]

    def cut(self, first=1, second=1):
        """Cut at every `first`-th operation, and going on at every `second`-th."""
        for number, kind in enumerate(KINDS):
            for at in range(1 + number % first, self.operations + 1, first):
                self._view[:] = self._image
                try:
                    self._cut(at, kind, second)
                except BaseException:
                    print("after the cut", at, kind)
                    raise

    def _cut(self, at, kind, second):
        model = self._before.copy()
        disk = CutDisk(self._data, at, kind)
        powered(disk, lambda log: model.live(log, self._steps))
        assert disk.cut
        self.cuts += 1
        left = bytes(self._data)
        # What is promised depends on what was acknowledged, too.
        digest = md5(left).digest() + b"%d %d" % (len(model.records), model.marks[0])
        if digest in self._looked_at:
            return
        self._looked_at.add(digest)
        self._inspect(model.copy(), self.firsts[1])
        self._view[:] = left
        step = 1 + (at + len(self._looked_at)) % second
        while self._cut_again(step, model.copy()):
            self._view[:] = left
            step += second

    def _cut_again(self, at, model):
        # Returns whether going on came so far.
        disk = CutDisk(self._data, at, KINDS[at % 3])
        powered(disk, lambda log: self._resume(log, model))
        if disk.cut:
            self.second_cuts += 1
            try:
                self._inspect(model, self.firsts[2])
            except BaseException:
                print("and then", at, KINDS[at % 3])
                raise
        return disk.cut

    def _resume(self, log, model):
        model.check(log, self.firsts[1])
        model.live(log, self._more(model))

    def _inspect(self, model, first):
        def work(log):
            model.check(log, first)
            model.live(log, self._more(model))
            model.check(log, len(model.records))

        def restart(log):
            model.check(log, len(model.records))

        assert powered(CutDisk(self._data), work), "it cannot go on"
        assert powered(CutDisk(self._data), restart), "it cannot start again"

    def fail_once(self, kind="once"):
        """Let each operation fail alone: the log goes on, having lost nothing and doubled nothing.

        After it the same record is appended again, or another one. kind: of FAILURES.
        """
        for at in range(1, self.operations + 1):
            for again in (True, False):
                self._view[:] = self._image
                try:
                    self._fail_once(at, kind, again)
                except BaseException:
                    print("after operation", at, "failed", kind, again)
                    raise
            self.cuts += 1

    def _fail_once(self, at, kind, again):
        model = self._before.copy()
        disk = CutDisk(self._data, at, kind)
        if not powered(disk, lambda log: self._live_on(log, model, again)):
            assert not self._before.records, "it did not start"
        assert disk.cut
        self._inspect(model, self.firsts[3])

    def _live_on(self, log, model, again):
        for step in self._steps:
            try:
                model.live(log, [step])
            except OSError:
                if again:
                    model.live(log, [step])
                else:
                    # Only now it is known whether the failed record is in flash.
                    model.follow(log.append(record(0, 7)), record(0, 7))
                model.check(log, self.firsts[2])
        model.live(log, self._more(model))
        model.check(log, self.firsts[3])


def _some(first, count, size=20):
    return [record(first + n, size) for n in range(count)]


# The stories, by their names.


def first_start():
    """The first start on an empty file system, the first records and mark."""
    return Story(None, _some(1, 2) + [1] + _some(3, 1))


def append():
    """Records of several pages; the folder's metadata is compacted on the way."""
    story = Story(_some(1, 20), _some(21, 11))
    assert story.operations > 22, story.operations  # an append is two at most, without compaction
    return story


def spill():
    """The small files are full and go into the segment."""
    return Story(_some(1, 40), _some(41, 6))


def next_segment():
    """The segment is full, too."""
    return Story(_some(1, 11, 250) + _some(12, 3), _some(15, 2) + _some(17, 2, 250))


def drop_oldest():
    """The log is full: the oldest segment gives way, with records above the mark."""
    before = _some(1, 35, 250) + [2]
    story = Story(before, _some(36, 3) + _some(39, 2, 250) + _some(41, 1))
    assert story.firsts[0] == 1 and story.firsts[1] > 10, story.firsts
    return story


def large():
    """Large records, which go straight into the segment."""
    return Story(_some(1, 9), _some(10, 2, 300) + _some(12, 2) + _some(14, 2, 299))


def mark():
    """The mark moves, between records."""
    return Story(_some(1, 9) + [2], [3, 4] + _some(10, 1) + [10, 9])


def check_cuts(story, first=1, second=1):
    """Cut a story of this module (by its name) at so many places, and print how often."""
    tried = globals()[story]()
    tried.cut(first, second)
    print(
        "# log, %s: %d operations, %d cuts, %d second cuts"
        % (story, tried.operations, tried.cuts, tried.second_cuts)
    )


def check_single_failures(story, kind="once"):
    """Let every operation of a story fail alone, and print how many. kind: of FAILURES."""
    tried = globals()[story]()
    tried.fail_once(kind)
    print("# log, %s: %d operations failed (%s), one at a time" % (story, tried.cuts, kind))
