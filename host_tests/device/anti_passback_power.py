"""Power cuts at a canteen that lets everybody pass once: in a real LittleFS, at every operation.

The gate asks, keeps the pass, signals; the signal is written down outside. After each cut
everybody comes again: who was signalled is refused, who was not may pass. The only one of whom
this may not be said is the one whose pass was being kept. If only an operation fails, or is said
to have failed, this one is refused and may pass later. MicroPython only.
"""

import vfs

from device.power import KINDS, CutDisk, make_file_system, mount
from device.ramdisk import RamDisk
from kalitka.journal.anti_passback import AntiPassback

_PLACE = "/cut"
_BLOCKS = 20
_WINDOW = 29_900_000


def code_of(person, size=8):
    """Return the code of a person."""
    return (b"%08X" % (person * 77777) * size)[:size]


def _powered(disk, work, interval=0):
    # Returns whether the power stayed.
    try:
        mount(disk, _PLACE)
    except OSError:
        return False
    try:
        passes = AntiPassback(_PLACE + "/passes", 32768, interval, 64)
        work(passes)
        return not disk.cut
    except OSError:
        return False
    finally:
        vfs.umount(_PLACE)


class Meal:
    """A meal at which some of `before` people have passed, and some more come.

    first_window: when the first half of them came. size: of the codes. interval: of AntiPassback.
    operations: of those who come. first: the oldest pass that is there afterwards.
    """

    def __init__(self, before, more, first_window=_WINDOW, size=8, interval=0):
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        self._people = range(before, before + more)
        self._before = before
        self._size = size
        self._interval = interval
        make_file_system(CutDisk(self._data))

        def work(passes):
            # Yesterday's may give way.
            for person in range(before):
                window = _WINDOW if person * 2 > before else first_window
                passes.record(self._code(person), window)

        assert self._powered(CutDisk(self._data), work)
        self._image = bytes(self._data)
        disk = CutDisk(self._data)
        assert self._powered(disk, lambda passes: self._scan(passes, []))
        self.operations = disk.operations
        self._powered(CutDisk(self._data), self._record)
        self.cuts = self.kept_unsignalled = 0

    def _powered(self, disk, work):
        return _powered(disk, work, self._interval)

    def _record(self, passes):
        self.first = passes.log.first

    def _code(self, person):
        return code_of(person, self._size)

    def _scan(self, passes, signalled):
        for person in self._people:
            code = self._code(person)
            assert passes.allowed(code, _WINDOW)
            passes.record(code, _WINDOW)
            signalled.append(person)

    def cut(self, step=1):
        """Cut at every `step`-th operation, in each way: each time from another one on."""
        for first, kind in enumerate(KINDS, 1):
            for at in range(first if step > 1 else 1, self.operations + 1, step):
                self._cut(at, kind)

    def _cut(self, at, kind):
        self._data[:] = self._image
        signalled = []
        disk = CutDisk(self._data, at, kind)
        self._powered(disk, lambda passes: self._scan_until(disk, passes, signalled))
        assert disk.cut
        self.cuts += 1

        def again(passes):
            self._check_before(passes)
            for person in self._people:
                code = self._code(person)
                if person in signalled:
                    assert not passes.allowed(code, _WINDOW), (at, kind, person)
                elif not passes.allowed(code, _WINDOW):
                    # Kept when the power went, but its signal did not come.
                    assert person == self._people[0] + len(signalled), (at, kind, person)
                    self.kept_unsignalled += 1
                else:
                    passes.record(code, _WINDOW)
                    assert not passes.allowed(code, _WINDOW)
                assert passes.allowed(code, _WINDOW + 200)

        assert self._powered(CutDisk(self._data), again), (at, kind)

    def _check_before(self, passes):
        assert not passes.fault, passes.fault
        for person in range(self._before // 2 + 1, self._before, 5):
            assert not passes.allowed(self._code(person), _WINDOW), person

    def _scan_until(self, disk, passes, signalled):
        for person in self._people:
            code = self._code(person)
            assert passes.allowed(code, _WINDOW)
            passes.record(code, _WINDOW)
            if disk.cut:
                return  # without power there is no signal
            signalled.append(person)

    def fail_once(self, kind, step=1):
        """Let every `step`-th operation fail alone: who is refused may pass, and nobody twice.

        This one comes again at once, or as the last, or after the next start. kind: of FAILURES.
        """
        for at in range(1, self.operations + 1, step):
            for comes in ("at once", "last", "after a start"):
                self._data[:] = self._image
                try:
                    self._fail_once(CutDisk(self._data, at, kind), comes)
                except BaseException:
                    print("after operation", at, "failed", kind, comes)
                    raise
            self.cuts += 1

    def _fail_once(self, disk, comes):
        passed = []
        refused = []
        ended = []
        # One more, so that somebody comes after the refused one.
        people = list(self._people) + [self._people[-1] + 1]

        def meal(passes):
            for person in people:
                while not self._pass(passes, person, passed):
                    refused.append(person)
                    if comes != "at once":
                        break
            if comes == "last" and refused:
                assert self._pass(passes, refused[0], passed)
            self._check(passes, people, passed)
            ended.append(True)

        self._powered(disk, meal)
        assert ended and disk.cut and len(refused) <= 1, refused
        assert len(passed) == len(people) - (comes == "after a start" and len(refused))

        def again(passes):
            self._check(passes, people, passed)
            for person in refused:
                if person not in passed:
                    assert self._pass(passes, person, passed)

        for _ in range(2):
            assert self._powered(CutDisk(self._data), again)
        assert sorted(passed) == people

    def _pass(self, passes, person, passed):
        # Returns whether this one was let in, as by the gate.
        code = self._code(person)
        try:
            assert passes.allowed(code, _WINDOW), person
            passes.record(code, _WINDOW)
        except OSError:
            return False
        passed.append(person)
        return True

    def _check(self, passes, people, passed):
        # Nobody may pass twice, and everybody once.
        self._check_before(passes)
        for person in people:
            code = self._code(person)
            assert passes.allowed(code, _WINDOW) is (person not in passed), (person, passed)
            assert passes.allowed(code, _WINDOW + 200)


def first_meal():
    """The first start."""
    return Meal(0, 3)


def into_the_segment():
    """Small files are full and go into the segment."""
    return Meal(44, 12)


def yesterday_gives_way():
    """The log is full, and yesterday's passes give way."""
    meal = Meal(46, 5, _WINDOW - 1440 * 2, 220)
    assert meal.first > 1
    return meal


def with_an_interval():
    """Everybody passes once in a hundred minutes."""
    return Meal(44, 4, interval=100)


def check_single_failures(meal, kind, step=1):
    """Let every `step`-th operation of a meal fail alone; print how many. kind: of FAILURES."""
    tried = globals()[meal]()
    tried.fail_once(kind, step)
    print("# once, %s: %d operations failed (%s), one at a time" % (meal, tried.cuts, kind))


def check_meal(meal, step=1):
    """Cut a meal of this module (by its name) at every `step`-th operation; print how often."""
    tried = globals()[meal]()
    tried.cut(step)
    print(
        "# once, %s: %d cuts, after %d of them a pass was kept whose signal had not come"
        % (meal, tried.cuts, tried.kept_unsignalled)
    )
    assert not tried.kept_unsignalled
