"""Damage to a table: a small table with every kind of entry, and the checks with a damaged file.

Whatever happens to the bytes, a lookup finds a code's own rules or returns DAMAGED; after that
only a full sync is accepted, and repairs everything. Also runs that change between writing and
reading.
"""

import os

from device.raising import error_of
from device.scratch import Folder, restore, snapshot, write
from device.syncs import apply, check_entries, in_code_order, long_codes, shuffled
from device.table_plan import (
    DATES,
    HOURS,
    State,
    check_code,
    check_table,
    check_tidy,
    commit,
    expand,
    rule_of,
)
from kalitka.access import packing
from kalitka.table.block import CorruptionError
from kalitka.table.table import DAMAGED, Table


class Small:
    """A table of a base and two deltas, with every kind of entry, and its files.

    cards: the number of the base's codes that are a card's. probes: codes to look up: all codes of
    the table, and some unknown ones.
    """

    def __init__(self, folder, cards=6):
        self.folder = folder
        self.state = state = State()
        table = Table(folder)
        for number, some in enumerate(
            (
                [("add", b"%08X" % (n * 7919), rule_of(n % 3)) for n in range(cards)]
                + [("add", b"sbj-J5E5FBOKN5Z6", HOURS), ("wide", b"Z", 40), ("add", b"a", b"")],
                [("del", b"00000000"), ("add", b"a", HOURS), ("add", b"Q", DATES)],
                [("del", b"Q"), ("add", b"00001EEF", DATES)],
            )
        ):
            changes = expand(some)
            state.codes, _ = state.after(False, changes)
            commit(table, number == 0, 5 + number, changes)
        state.minute = 7
        assert len(table.names()) == 3
        check_table(table, state)
        table.close()
        self.files = snapshot(folder)
        self.probes = list(state.codes)
        self.probes += [b"00000000", b"Q", b"00001EEE", b"", b"ZZ", b"~", b"FF"]

    def base(self):
        """Return the name of the base segment."""
        return next(name for name in self.files if name.startswith("base"))

    def count_damaged(self, table):
        """Look up all probes: each is right or DAMAGED. Return how many were DAMAGED."""
        damaged = 0
        for code in self.probes:
            found = table.find(code, len(code))
            if found == DAMAGED:
                damaged += 1
                assert table.fault, code
            else:
                check_code(table, self.state, code)
        return damaged

    def open(self, name, data):
        """Open the table with the bytes of file `name` replaced by `data`; None: file missing."""
        restore(self.folder, self.files)
        if data is None:
            os.remove(self.folder + "/" + name)
        else:
            write(self.folder + "/" + name, data)
        return Table(self.folder)

    def open_with_a_damaged_base(self):
        """Open the table with a byte of its base's first block flipped."""
        data = bytearray(self.files[self.base()])
        data[3] ^= 1
        return self.open(self.base(), data)

    def heal(self, table):
        """Do the full sync that repairs the table, and check it."""
        everything = [
            (code, rule)
            for code, rule_set in self.state.codes.items()
            for rule in (packing.split(rule_set) or [b""])
        ]
        commit(table, True, 7, everything)
        check_table(table, self.state)
        check_tidy(table)
        table.close()
        table = Table(self.folder)
        check_table(table, self.state)
        table.close()

    def check_damaged(self, name, data, heal):
        """Check the table with `data` in place of file `name`; heal: check its repair, too."""
        table = self.open(name, data)
        assert self.count_damaged(table), "unnoticed"
        error_of(CorruptionError, table.begin, False)
        if heal:
            self.heal(table)
        table.close()


def check_every_bit(number, cards):
    """Flip every bit of a small table's file `number` alone; print the number of bits."""
    with Folder() as folder:
        small = Small(folder + "/table", cards)
        name = sorted(small.files)[number]
        data = bytearray(small.files[name])
        for bit in range(8 * len(data)):
            data[bit >> 3] ^= 1 << (bit & 7)
            try:
                small.check_damaged(name, data, bit % 101 == 0)
            except BaseException:
                print("with bit", bit, "of", name)
                raise
            data[bit >> 3] ^= 1 << (bit & 7)
    print("# %s of %d codes: %d bits" % (name, len(small.state.codes), 8 * len(data)))


def check_every_length(cards):
    """Cut every file of a small table to every length; print the number of lengths."""
    tried = 0
    with Folder() as folder:
        small = Small(folder + "/table", cards)
        for name in sorted(small.files):
            data = small.files[name]
            for size in range(len(data)):
                try:
                    small.check_damaged(name, data[:size], size % 29 == 0)
                except BaseException:
                    print("with", size, "bytes of", name)
                    raise
                tried += 1
    print("# files of %d codes cut to %d lengths" % (len(small.state.codes), tried))


class RottenRuns:
    """`with RottenRuns(bit):` this bit of the runs is flipped when it is read.

    Bits are counted over all runs; `written` is the number of bytes of all runs. bit: -1 for none.
    short: reads end before the bit instead, as in a file that was cut.
    """

    def __init__(self, bit, short=False):
        self._bit = bit
        self._short = short
        self.written = 0

    def __enter__(self):
        # Imported now: a poller may have unloaded the module, and the table loads it anew.
        from kalitka.table import sorter

        self._sorter = sorter
        sorter.open = self._open
        return self

    def __exit__(self, kind, error, trace):
        del self._sorter.open

    def _open(self, path, mode):
        return _RottenFile(self, open(path, mode))

    def spoil(self, place, buf, size):
        """Spoil `size` bytes read into `buf` from offset `place` of all runs; return how many."""
        at = (self._bit >> 3) - place
        if self._bit < 0 or at >= size or (at < 0 and not self._short):
            return size
        if self._short:
            return max(0, at)
        buf[at] ^= 1 << (self._bit & 7)
        return size


class _RottenFile:
    def __init__(self, runs, file):
        self._runs = runs
        self._file = file
        self._places = []  # of each write: (offset in the file, offset in all runs)
        self._at = 0
        self.close = file.close

    def write(self, data):
        self._places.append((self._file.tell(), self._runs.written))
        self._runs.written += len(data)
        return self._file.write(data)

    def seek(self, at, whence=0):
        self._at = self._file.seek(at, whence)
        return self._at

    def readinto(self, buf):
        at = self._at
        size = self._file.readinto(buf)
        begin, place = [written for written in self._places if written[0] <= at][-1]
        return self._runs.spoil(place + at - begin, buf, size)


class Sorting:
    """A table, and a change that is sorted in flash, with one bit of its runs flipped."""

    def __init__(self, folder, full):
        self._full = full
        self._old = State()
        self._old.codes, _ = self._old.after(True, long_codes(0, 40))
        self._old.minute = 5
        self._changes = shuffled(long_codes(20, 110))
        self._new = State()
        self._new.codes, _ = self._old.after(full, self._changes)
        self._old_entries = in_code_order(self._old.codes)
        self._new_entries = in_code_order(self._new.codes)
        self._table = Table(folder)
        commit(self._table, True, 5, long_codes(0, 40))
        self._files = snapshot(folder)
        with RottenRuns(-1) as runs:
            apply(self._table, full, self._changes, 6)
            self.bytes = runs.written
        assert self.bytes, "nothing was sorted in flash"

    def check(self, bit, short=False, heal=True):
        """Check that the sync fails with this bit flipped; heal: then do a full sync, too."""
        self._table.close()
        restore(self._table.folder, self._files)
        table = self._table = Table(self._table.folder)
        with RottenRuns(bit, short):
            error_of(CorruptionError, apply, table, self._full, self._changes, 6)
        assert table.minute == 5
        check_entries(table, self._old_entries)
        check_tidy(table)
        assert snapshot(table.folder) == self._files
        if not heal:
            return
        # Each code has one rule, so the entries are the lines of a full answer.
        apply(table, True, shuffled(self._new_entries), 7)
        check_entries(table, self._new_entries)
        assert (table.fault, table.minute) == ("", 7)
        check_tidy(table)

    def close(self):
        """Close the table."""
        self._table.close()


def check_every_bit_of_runs(full):
    """Flip every bit of a sync's runs, and cut them to every length; print the numbers."""
    with Folder() as folder:
        sorting = Sorting(folder + "/table", full)
        for size in range(sorting.bytes):
            sorting.check(8 * size, True, False)
            for bit in range(8 * size, 8 * size + 8):
                sorting.check(bit, False, bit % 19 == 0)
        sorting.close()
    kind = "a full" if full else "an incremental"
    print("# runs of %s sync: %d bits, %d lengths" % (kind, 8 * sorting.bytes, sorting.bytes))
