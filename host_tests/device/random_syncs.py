"""Random syncs of every kind, hours of a reader's life, compared with a dictionary.

Incremental syncs with deletes and repeated codes, full syncs in and out of code order, large and
unchanged ones; between them the reader restarts, its power is cut in the middle of a sync, its
flash is full, or a bit in flash flips. After each step some codes are looked up, now and then all.
MicroPython only, on a LittleFS in memory; the same seed gives the same history.
"""

import os

import vfs

from device.power import KINDS, NEVER, CutDisk, make_file_system, mount
from device.ramdisk import RamDisk
from device.random_numbers import Numbers
from device.scratch import read, write
from device.syncs import apply, check_entries, in_code_order, long_code
from device.table_plan import State, code_of, rule_of
from kalitka.access import packing
from kalitka.table.block import CorruptionError
from kalitka.table.table import DAMAGED, FOUND, UNKNOWN, Table

_PLACE = "/random"
_FOLDER = _PLACE + "/table"
_BLOCKS = 64
_ALL_EVERY = 20  # steps from one check of every entry to the next
_SHOWN = 8  # codes looked up after each step
_ENOSPC = 28
_SET_MAX = 500  # bytes from which on no rule is added to a rule set

# The weight of each step.
_STEPS = (
    ("some", 40),
    ("full", 8),
    ("unchanged", 6),
    ("nothing", 3),
    ("reopen", 8),
    ("cut", 24),
    ("damage", 4),
    ("full_flash", 4),
    ("save", 3),
)


def _cards(number):
    return b"%08X" % (number * 7919 % 65537 * 65521)


# The codes of a site: the function that makes them, the most there can be, and how many at first.
_SITES = {
    "small": (code_of, 60, 30),
    "mixed": (lambda number: code_of(number * 977), 400, 250),
    "cards": (_cards, 3000, 1200),
    "long": (long_code, 160, 100),
}


class History:
    """The life of one reader. counts: how often each event happened, by name."""

    def __init__(self, site, seed):
        self._code, self._pool, first = _SITES[site]
        self._numbers = Numbers(seed)
        self._disk = CutDisk(bytearray(_BLOCKS * RamDisk.SIZE))
        make_file_system(self._disk)
        mount(self._disk, _PLACE)
        self._table = Table(_FOLDER)
        self._state = State()
        self._clock = 0
        self._steps = []
        for name, weight in _STEPS:
            self._steps += [name] * weight
        self.counts = {}
        adds = [(self._code(number), self._rule()) for number in range(first)]
        self._operations = [0, 0]  # of the last incremental sync, and of the last full sync
        self._sync(True, self._shuffled(adds))

    def close(self):
        """Close the table and unmount the disk."""
        self._table.close()
        vfs.umount(_PLACE)

    def run(self, steps):
        """Do this number of random steps, each with a check."""
        for number in range(steps):
            name = self._steps[self._below(len(self._steps))]
            try:
                getattr(self, "_" + name)()
                self._check(number % _ALL_EVERY == 0 or number == steps - 1)
            except BaseException:
                print("at step", number, name)
                raise
            self._count(name)

    def _count(self, name, more=1):
        self.counts[name] = self.counts.get(name, 0) + more

    # The server's answers

    def _below(self, limit):
        return self._numbers.below(limit)

    def _shuffled(self, some):
        return self._numbers.shuffled(some)

    def _rule(self):
        # Returns one of two hundred schedules, or now and then a time window of its own.
        return rule_of(self._below(200) if self._below(8) else 1000 + self._below(30000))

    def _any_code(self):
        return self._code(self._below(self._pool))

    def _changes(self):
        # Returns an incremental answer: mostly few codes, sometimes a tenth of all.
        most = self._pool // 10 if not self._below(6) else 6
        deletes = [(self._any_code(), None) for _ in range(self._below(most + 1))]
        adds = []
        for _ in range(self._below(most + 1)):
            code = self._any_code()
            if len(self._state.codes.get(code, b"")) < _SET_MAX:
                adds += [(code, self._rule()) for _ in range(1 + self._below(4) // 2)]
        # The server repeats whole tokens: a deleted code may be added again, changed or not.
        for code, _ in deletes[:: 1 + self._below(3)]:
            adds += self._lines_of(code)
        if not self._below(9):
            adds.append((self._any_code(), b""))
        return deletes + adds

    def _lines_of(self, code):
        rule_set = self._state.codes.get(code)
        if rule_set is None:
            return []
        return [(code, rule) for rule in packing.split(rule_set) or [b""]]

    def _everything(self):
        # Returns a full answer that equals the table.
        return [line for code, _ in self._entries() for line in self._lines_of(code)]

    def _entries(self):
        return in_code_order(self._state.codes)

    def _full_changes(self):
        # Returns a full answer that differs in a few codes, in code order or in random order.
        changes = self._changes()
        new, _ = self._state.after(False, changes)
        lines = [
            (code, rule)
            for code, rule_set in in_code_order(new)
            for rule in packing.split(rule_set) or [b""]
        ]
        return self._shuffled(lines) if self._below(2) else lines

    # The steps

    def _sync(self, full, changes):
        # Does a sync that succeeds. Returns whether the server was asked again.
        self._clock += 1
        before = self._table.names()
        operations = self._disk.operations
        again = apply(self._table, full, changes, self._clock)
        self._state.codes, _ = self._state.after(full, changes)
        self._state.minute = self._clock
        self._count_sync(before, self._table.names(), full, again)
        operations = self._disk.operations - operations
        if operations:
            self._operations[full] = operations
        return again

    def _count_sync(self, before, after, full, again):
        self._count("syncs")
        self._count("asked again", again)
        if not full and len(after) < len(before):
            kept = after[0] == before[0]
            assert len(before) > 4 and len(after) == 1 + kept, (before, after)
            self._count("merges of deltas" if kept else "merges into the base")

    def _some(self):
        self._sync(False, self._changes())

    def _full(self):
        self._sync(True, self._full_changes())

    def _unchanged(self):
        lines = self._everything()
        if self._below(2):
            lines = self._shuffled(lines)
        before = self._disk.operations
        assert not self._sync(True, lines)
        assert self._disk.operations == before, "what changes nothing was written"

    def _nothing(self):
        before = self._disk.operations
        self._sync(False, [])
        assert self._disk.operations == before, "what changes nothing was written"

    def _save(self):
        self._table.save_minute()

    def _reopen(self, at=NEVER, kind="fails"):
        self._table.close()
        vfs.umount(_PLACE)
        self._disk = CutDisk(self._disk.data, at, kind)
        mount(self._disk, _PLACE)
        self._table = Table(_FOLDER)
        self._take_minute()

    def _take_minute(self):
        # A minute that moved on without a change may not have been saved.
        assert not self._table.fault
        assert self._table.minute <= self._state.minute
        self._state.minute = self._table.minute

    def _cut(self):
        # Cuts the power at some operation of a start or of the sync after it.
        full = not self._below(3)
        changes = self._full_changes() if full else self._changes()
        # Anywhere in the sync, or near its end: before and after the commit.
        at = 1 + self._below(self._operations[full] + 3)
        if not self._below(3):
            at = max(1, self._operations[full] + 2 - self._below(6))
        minute = self._clock + 1
        new, _ = self._state.after(full, changes)
        try:
            self._reopen(at, KINDS[self._below(3)])
            apply(self._table, full, changes, minute)
            self._table.save_minute()
        except OSError:
            pass
        self._clock = self._state.minute = minute
        cut = self._disk.cut
        self._count("cuts in time", cut)
        self._restart()
        if self._table.minute == minute:
            self._count("cuts behind the commit", cut)
            self._state.codes = new
        # The next sync brings the same change, or another one that the server has meanwhile.
        if self._below(2):
            self._sync(full, changes)

    def _restart(self):
        # Switches the power on again.
        self._table.close()
        try:
            vfs.umount(_PLACE)
        except OSError:
            pass  # the power was cut before the mount
        self._disk = CutDisk(self._disk.data)
        mount(self._disk, _PLACE)
        self._table = Table(_FOLDER)
        self._take_minute()
        assert sorted(os.listdir(_FOLDER)) == sorted(self._table.names() + ["manifest"])

    def _damage(self):
        # Flips a bit, cuts a file short or removes one: until a full sync each lookup is right or
        # DAMAGED.
        self._table.close()
        names = sorted(os.listdir(_FOLDER))
        name = _FOLDER + "/" + names[self._below(len(names))]
        data = bytearray(read(name))
        kind = self._below(8)
        if kind == 0:
            os.remove(name)
        elif kind == 1:
            write(name, data[: self._below(len(data))])
        else:
            at = self._below(min(len(data), 1 << 15))
            data[at] ^= 1 << self._below(8)
            write(name, data)
        self._table = Table(_FOLDER)
        self._count("damage noticed", self._check_damage())
        self._sync(True, self._shuffled(self._everything()))

    def _check_damage(self):
        # Returns whether any lookup was DAMAGED.
        table = self._table
        damaged = 0
        for number in range(self._pool):
            code = self._code(number)
            found = table.find(code, len(code))
            if found == DAMAGED:
                damaged += 1
            else:
                self._check_found(code, found)
        if damaged:
            assert table.fault
            try:
                table.begin(False)
            except CorruptionError:
                return True
            raise AssertionError("an incremental change of a damaged table")
        return False

    def _full_flash(self):
        # With little or no room in flash, a sync fails and changes nothing, or succeeds.
        fillers = []
        try:
            while True:
                fillers.append("%s/%d" % (_PLACE, len(fillers)))
                write(fillers[-1], bytes(RamDisk.SIZE))
        except OSError:
            pass
        for _ in range(1 + self._below(5)):
            os.remove(fillers.pop())
        full = not self._below(3)
        try:
            self._sync(full, self._full_changes() if full else self._changes())
        except OSError as e:
            assert e.errno == _ENOSPC, e
            self._count("no room")
        self._check(True)
        for name in fillers:
            os.remove(name)

    # The checks after each step

    def _check(self, everything):
        table = self._table
        state = self._state
        assert (table.fault, table.minute, table.seconds) == ("", state.minute, False)
        for _ in range(_SHOWN):
            code = self._any_code()
            self._check_found(code, table.find(code, len(code)))
        if everything:
            unknown = [self._code(number) for number in range(0, self._pool, 7)]
            unknown = [code for code in unknown if code not in state.codes]
            check_entries(table, self._entries(), unknown)
            self._count("looks at every entry")
            assert len(table.names()) <= 10

    def _check_found(self, code, found):
        rule_set = self._state.codes.get(code)
        if rule_set is None:
            assert found == UNKNOWN, (code, found)
            return
        assert found == FOUND, (code, found)
        table = self._table
        assert table.rules[table.at : table.end] == rule_set, code


def check_histories(site, seed, steps):
    """Run a history of this number of steps; print and return its counts."""
    history = History(site, seed)
    try:
        history.run(steps)
    except BaseException:
        print("with site %s, seed %d" % (site, seed))
        raise
    counts = history.counts
    history.close()
    print("# site %s, seed %d:" % (site, seed), end="")
    for name in sorted(counts):
        print(" %s %d," % (name.replace("_", " "), counts[name]), end="")
    print(" codes %d" % len(history._state.codes))
    return counts
