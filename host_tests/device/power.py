"""Power cuts in a real LittleFS: a disk that stops at its k-th operation, and the checks after it.

A *scenario* is a table and one more sync. The sync is run with a power cut at each program and
erase operation; after each cut the file system must mount, the table must be the old or the new
one in every entry, and the next sync must bring the new one. Then that recovery is cut in the same
way. MicroPython only. Disks with the same bytes are checked once: the same would follow.
"""

from hashlib import md5

import vfs

import micropython
from device.ramdisk import RamDisk
from device.syncs import apply, check_entries, in_code_order, long_codes, shuffled
from device.table_plan import State, check_tidy, expand, rule_of
from kalitka.table.table import Table

# Kinds of cut. "fails": this operation and all later ones fail. "dropped": they are silently
# dropped. "half": this operation is half done, all later ones are dropped.
KINDS = ("fails", "dropped", "half")
# Kinds of failure; the power stays on. "once": this operation is not done. "lies": it is done,
# and a failure is reported all the same.
FAILURES = ("once", "lies")
NEVER = 1 << 30
_ERASED = b"\xff" * RamDisk.SIZE
_SIZES = {"readsize": 32, "progsize": 32, "lookahead": 32}  # as the ESP32 port mounts it
_EIO = -5  # returned as by a driver: an exception raised here would be printed each time
_PLACE = "/power"
_FOLDER = _PLACE + "/table"
_BLOCKS = 32
_MINUTE = 90  # of the new table


@micropython.viper
def _program(to, at: int, source, size: int):
    # As NOR flash does: bits only go from 1 to 0. A file system that was told that a program
    # failed may program the same place again.
    into = ptr8(to)  # noqa: F821 - a name of viper code
    out_of = ptr8(source)  # noqa: F821
    for i in range(size):
        into[at + i] &= out_of[i]


def _erase(to, at, source, size):
    memoryview(to)[at : at + size] = memoryview(source)[:size]


class CutDisk(RamDisk):
    """A disk in `data` whose power is cut at operation `at`, counted from 1.

    kind: of KINDS; or of FAILURES: this operation alone fails, and the power stays on.
    operations: the number of program and erase operations so far. cut: whether operation `at` was
    reached. data: the bytearray that was given.
    """

    def __init__(self, data, at=NEVER, kind="fails"):
        super().__init__(len(data) // self.SIZE, data)
        self.data = data
        self.operations = 0
        self.cut = False
        self._at = at
        self._kind = kind

    def writeblocks(self, block, buf, offset=0):
        """Program as far as the cut lets it."""
        return self._do(_program, block * self.SIZE + offset, buf)

    def ioctl(self, operation, argument):
        """Erase as far as the cut lets it."""
        if operation == 6:
            return self._do(_erase, argument * self.SIZE, _ERASED)
        return super().ioctl(operation, argument)

    def _do(self, work, at, buf):
        self.operations += 1
        if self.operations < self._at or (self.cut and self._kind in FAILURES):
            work(self.data, at, buf, len(buf))
            return 0
        self.cut = True
        if self._kind == "lies":
            work(self.data, at, buf, len(buf))
        if self._kind == "half" and self.operations == self._at:
            work(self.data, at, buf, len(buf) // 2)
        return 0 if self._kind in ("dropped", "half") else _EIO


def mount(disk, place):
    """Mount a disk as the ESP32 port does. Raises OSError if there is no file system on it."""
    vfs.mount(vfs.VfsLfs2(disk, **_SIZES), place)


def make_file_system(disk):
    """Make an empty file system."""
    vfs.VfsLfs2.mkfs(disk, **_SIZES)


def powered(disk, work):
    """Mount, open the table and do `work(table)`; return False if an OSError ended this."""
    table = None
    try:
        mount(disk, _PLACE)
    except OSError:
        return False
    try:
        table = Table(_FOLDER)
        work(table)
        return True
    except OSError:
        return False
    finally:
        # Closes the files; nothing is written any more.
        if table:
            table.close()
        vfs.umount(_PLACE)


class Scenario:
    """A table, and a sync that is cut.

    steps: the syncs that make the table, a list of (full, changes); None for an empty file system.
    full, changes: the sync to cut. Changes are a list of (code, packed rule), (code, None) for a
    delete.

    operations: the number in the sync without a cut. asked_again: whether the sync took two
    answers. names: the table's files before and after the sync.
    """

    def __init__(self, steps, full, changes):
        self._full = full
        self._changes = changes
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        self._view = memoryview(self._data)
        old = State()
        make_file_system(CutDisk(self._data))
        if steps is not None:
            assert powered(CutDisk(self._data), lambda table: self._make(table, steps, old))
        self._image = bytes(self._data)
        new = State()
        new.codes, _ = old.after(full, changes)
        new.minute = _MINUTE
        # Of the old and of the new table: minute, entries, codes of the other table only.
        self._tables = []
        for state, other in ((old, new), (new, old)):
            unknown = [code for code in other.codes if code not in state.codes]
            self._tables.append((state.minute, in_code_order(state.codes), unknown))
        self._looked_at = set()
        self.cuts = self.second_cuts = self.operations = 0
        self.asked_again = False
        self.names = ()
        self._run_uncut()

    def _make(self, table, steps, state):
        for full, changes in steps:
            state.codes, _ = state.after(full, changes)
            state.minute += 1
            apply(table, full, changes, state.minute)

    def _run_uncut(self):
        def work(table):
            before = table.names()
            self.asked_again = self._sync(table)
            self.names = before, table.names()

        disk = CutDisk(self._data)
        assert powered(disk, work), "not even without a cut"
        self.operations = disk.operations

    def _sync(self, table):
        if table.minute == _MINUTE:
            return False
        # A table without a minute would ask for a full sync.
        assert self._full or table.minute
        again = apply(table, self._full, self._changes, _MINUTE)
        table.save_minute()
        return again

    def _check(self, table, new):
        minute, entries, unknown = self._tables[new]
        assert (table.fault, table.minute, table.seconds) == ("", minute, False)
        check_entries(table, entries, unknown)

    def _check_either(self, table):
        self._check(table, int(table.minute == _MINUTE))

    def _check_recovery(self, table):
        if table.minute != _MINUTE:
            self._check(table, 0)
            self._sync(table)
        self._check(table, 1)
        check_tidy(table)

    def cut(self, first=1, second=1):
        """Cut at each `first`-th operation, and each recovery at each `second`-th (0: none)."""
        recoveries = set()
        for number in range(len(KINDS)):
            kind = KINDS[number]
            # If not every operation is cut, each kind of cut has different ones.
            for at in range(1 + number % first, self.operations + 1, first):
                self._view[:] = self._image
                assert self._cut_at(at, kind), (at, kind)
                self.cuts += 1
                self._inspect((at, kind))
                digest = md5(self._data).digest()
                if second and digest not in recoveries:
                    recoveries.add(digest)
                    self._cut_recovery((at, kind), second)

    def fail_once(self, kind="once"):
        """Let each operation fail alone: the reader goes on with the old or the new table.

        kind: of FAILURES.
        """
        for at in range(1, self.operations + 1):
            self._view[:] = self._image
            try:
                self._fail_once(at, kind)
            except BaseException:
                print("after operation", at, "failed", kind)
                raise
            self.cuts += 1

    def _fail_once(self, at, kind):
        minutes = []

        def work(table):
            try:
                self._sync(table)
            except OSError:
                pass
            if not table.fault:
                self._check_either(table)
            minutes.append(table.minute)

        def inspect(table):
            # The restart must not change the table from old to new or back.
            assert minutes in ([table.minute], []), (minutes, table.minute)
            self._check_either(table)
            self._sync(table)
            self._check(table, 1)

        disk = CutDisk(self._data, at, kind)
        powered(disk, work)
        assert disk.cut
        assert powered(CutDisk(self._data), inspect), "it cannot start"

    def _cut_recovery(self, first, step):
        left = bytes(self._data)
        for number in range(len(KINDS)):
            kind = KINDS[number]
            at = 1 + (len(self._looked_at) + number * 3) % step
            self._view[:] = left
            while self._cut_at(at, kind):
                self.second_cuts += 1
                self._inspect((first, (at, kind)))
                at += step
                self._view[:] = left

    def _cut_at(self, at, kind):
        # Cuts the sync at operation `at`; returns whether it got that far.
        disk = CutDisk(self._data, at, kind)
        powered(disk, self._sync)
        return disk.cut

    def _inspect(self, cuts):
        # Checks the table and its recovery after these cuts; restores the disk.
        digest = md5(self._data).digest()
        if digest in self._looked_at:
            return
        self._looked_at.add(digest)
        left = bytes(self._data)
        try:
            assert powered(CutDisk(self._data), self._check_recovery), "it cannot recover"
        except BaseException:
            print("after the cuts", cuts)
            raise
        self._view[:] = left

    def summary(self):
        """Return the numbers of operations, cuts and disks tried, in words."""
        return "%d operations, %d cuts, %d second cuts, %d different disks" % (
            self.operations,
            self.cuts,
            self.second_cuts,
            len(self._looked_at),
        )


def _many(seed, count):
    # Returns codes of all classes, in no order.
    return expand([("many", seed, count, 20)])


def _gone(seed, count):
    # Returns deletes of the first codes of `_many`.
    return expand([("gone", seed, count)])


def _in_order(count):
    return [(b"%08X" % (n * 77777), rule_of(n % 9)) for n in range(count)]


_FIRST = _many(31, 60)
_DELTAS = [(False, _many(40 + n, 3)) for n in range(4)]


# The scenarios, by their names.


def full():
    """A full sync over an old table; its answer is out of order and fits the buffer."""
    return Scenario([(True, _FIRST)], True, _many(32, 90))


def incremental():
    """An incremental sync with deletes."""
    return Scenario([(True, _FIRST)], False, _gone(31, 20) + _many(33, 15))


def merge_of_deltas():
    """An incremental sync that merges the deltas of a large base."""
    changes = _gone(31, 5) + _many(50, 4)
    scenario = Scenario([(True, _many(31, 300))] + _DELTAS, False, changes)
    before, after = scenario.names
    assert len(before) == 5 and len(after) == 2 and before[0] == after[0], scenario.names
    return scenario


def merge_into_the_base():
    """An incremental sync that merges deltas and base."""
    scenario = Scenario([(True, _FIRST)] + _DELTAS, False, _gone(31, 5) + _many(50, 4))
    before, after = scenario.names
    assert len(before) == 5 and len(after) == 1 and after[0].startswith("base"), scenario.names
    return scenario


def first_start():
    """The first start on an empty file system, and the first sync."""
    return Scenario(None, True, _FIRST)


def ordered():
    """A full sync in code order that differs from the table in its middle and at its end."""
    first = _in_order(120)
    changes = first[:60] + first[61:] + [(b"FFFFFFFF", rule_of(5))]
    return Scenario([(True, first)], True, changes)


def ordered_and_large():
    """A full sync in code order, too large for the buffer: asked for again, then written."""
    scenario = Scenario([(True, _FIRST)], True, long_codes(0, 85))
    assert scenario.asked_again
    return scenario


def sorted_in_flash():
    """A full sync out of order, too large for the buffer: asked for again, sorted in runs."""
    scenario = Scenario([(True, _FIRST)], True, shuffled(long_codes(0, 85)))
    assert scenario.asked_again
    return scenario


def incremental_and_large():
    """An incremental sync, too large for the buffer: sorted in runs."""
    deletes = [(code, None) for code, _ in long_codes(0, 20)]
    return Scenario([(True, long_codes(0, 60))], False, deletes + shuffled(long_codes(50, 130)))


def runs_merged_to_fewer():
    """A full sync with more runs than can be merged at once."""
    return Scenario([(True, _FIRST)], True, shuffled(long_codes(0, 600)))


def minute_alone():
    """A minute that moved on without a change, and is saved."""
    return Scenario([(True, _FIRST)], False, [])


def check_cuts(scenario, first=1, second=1):
    """Cut a scenario of this module, given by name, see `Scenario.cut`; print the numbers."""
    tried = globals()[scenario]()
    tried.cut(first, second)
    print("# %s: %s" % (scenario, tried.summary()))


def check_single_failures(scenario, kind="once"):
    """Let every operation of a scenario fail alone; print the number."""
    tried = globals()[scenario]()
    tried.fail_once(kind)
    print("# %s: %d operations failed, one at a time" % (scenario, tried.cuts))
