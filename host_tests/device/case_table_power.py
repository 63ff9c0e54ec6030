"""Power cuts at every program and erase operation of a change, in a real LittleFS.

After each cut the file system mounts, the table is the old one or the new one in every entry,
and the next sync brings the new one; then a second cut during that recovery. Three kinds of cut:
the operation and all after it fail, are silently dropped, or the first is half done.
MicroPython only; each case prints how many cuts it tried.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    import vfs

    from device.ramdisk import RamDisk
    from device.table_plan import State, check_table, check_tidy, commit, expand, rule_of
    from kalitka.table.table import Table

    KINDS = ("fails", "dropped", "half")
    _PLACE = "/power"
    _FOLDER = _PLACE + "/table"
    _BLOCKS = 48
    _SHOWN = 2  # codes looked up after a cut; all are enumerated
    _DATA = bytearray(_BLOCKS * RamDisk.SIZE)
    _NEVER = 1 << 30
    _EIO = -5  # as a driver returns it; what it raises would be printed each time

    class CutDisk(RamDisk):
        """A disk whose power goes at the operation `at` (from 1 on)."""

        def __init__(self, at=_NEVER, kind="fails"):
            super().__init__(_BLOCKS, _DATA)
            self.operations = 0
            self._at = at
            self._kind = kind

        def _gone(self):
            self.operations += 1
            return self.operations >= self._at

        def writeblocks(self, block, buf, offset=None):
            """Program, or what the cut leaves of it."""
            if not self._gone():
                super().writeblocks(block, buf, offset)
                return 0
            if self._kind == "half" and self.operations == self._at:
                super().writeblocks(block, memoryview(buf)[: len(buf) // 2], offset)
            return _EIO if self._kind == "fails" else 0

        def ioctl(self, operation, argument):
            """Erase, or not."""
            if operation == 6:
                if self._gone():
                    return _EIO if self._kind == "fails" else 0
                at = argument * self.SIZE
                _DATA[at : at + self.SIZE] = b"\xff" * self.SIZE
                return 0
            return super().ioctl(operation, argument)

    def _mounted(disk):
        vfs.mount(vfs.VfsLfs2(disk, readsize=32, progsize=32, lookahead=32), _PLACE)

    def _powered(disk, work):
        # Work until the power goes; returns whether it went through.
        table = None
        try:
            _mounted(disk)
        except OSError:
            return False
        try:
            table = Table(_FOLDER)
            return work(table)
        except OSError:
            return False
        finally:
            # Nothing is written any more: this only lets go of the files.
            try:
                if table:
                    table.close()
            except OSError:
                pass
            vfs.umount(_PLACE)

    def _image_after(steps):
        # The disk after these changes, and the state that it has.
        vfs.VfsLfs2.mkfs(CutDisk(), readsize=32, progsize=32, lookahead=32)
        state = State()
        _mounted(CutDisk())
        if steps is not None:
            table = Table(_FOLDER)
            for minute, (full, changes) in enumerate(steps):
                state.codes, _ = state.after(full, changes)
                state.minute = minute + 1
                commit(table, full, minute + 1, changes)
            table.close()
        vfs.umount(_PLACE)
        return bytes(_DATA), state

    def _check_after(old, new):
        # The table is the one or the other; returns which.
        which = []

        def look(table):
            state = new if table.minute == new.minute else old
            check_table(table, state, _SHOWN)
            which.append(state)
            return True

        assert _powered(CutDisk(), look), "the file system does not mount"
        return which[0]

    def check_cuts(steps, full, changes, places=None, seconds=4):
        """Cut at every operation of one more change. Returns how many cuts were tried."""
        image, old = _image_after(steps)
        new = State()
        new.codes = old.codes
        new.codes, _ = new.after(full, changes)
        new.minute = 90

        def sync(table):
            # As the poller does: a table without a minute, or at fault, asks for everything.
            if table.minute == new.minute:
                return True
            everything = full or not table.minute or bool(table.fault)
            assert not everything or full
            for _ in _told(table, full, changes).commit(new.minute):
                pass
            return True

        def whole(table):
            sync(table)
            check_table(table, new, _SHOWN)
            check_tidy(table)
            return True

        tried = 0
        for kind in KINDS:
            at = 0
            while True:
                at += 1
                if places is not None and at not in places and at < places[-1]:
                    continue
                _DATA[:] = image
                disk = CutDisk(at, kind)
                _powered(disk, sync)
                if disk.operations < at:
                    break  # it went through: that were all operations
                tried += 1
                left = bytes(_DATA)
                _check_after(old, new)
                # The recovery and the next sync are cut as well, at some places.
                for second in range(1 + at % seconds, 400, 7 * seconds):
                    _DATA[:] = left
                    again = CutDisk(second, KINDS[(at + second) % 3])
                    _powered(again, sync)
                    if again.operations < second:
                        break
                    tried += 1
                    _check_after(old, new)
                    assert _powered(CutDisk(), whole)
                _DATA[:] = left
                assert _powered(CutDisk(), whole)
                if places is not None and at >= places[-1]:
                    break
        return tried

    def _told(table, full, changes):
        transaction = table.begin(full)
        try:
            for code, rule in changes:
                if rule is None:
                    transaction.delete(code)
            for code, rule in changes:
                if rule is not None:
                    transaction.add(code, rule)
        except OSError:
            transaction.abort()
            raise
        return transaction

    FIRST = expand([("many", 31, 60, 20)])

    def test_a_power_cut_in_a_full_sync_over_an_old_table():
        print("#", check_cuts([(True, FIRST)], True, expand([("many", 32, 90, 20)])), "cuts")

    def test_a_power_cut_in_an_incremental_sync_with_deletes():
        changes = expand([("gone", 31, 20), ("many", 33, 15, 20)])
        print("#", check_cuts([(True, FIRST)], False, changes), "cuts")

    def test_a_power_cut_in_a_merge_of_deltas():
        steps = [(True, FIRST)]
        for n in range(4):
            steps.append((False, expand([("many", 40 + n, 3, 20)])))
        changes = expand([("gone", 31, 5), ("many", 50, 4, 20)])
        print("#", check_cuts(steps, False, changes), "cuts")

    def test_a_power_cut_in_the_first_start_on_an_empty_file_system():
        print("#", check_cuts(None, True, FIRST), "cuts")

    def test_a_power_cut_in_a_sync_that_sorts_in_flash():
        changes = expand([("many", 60, 600, 30)])
        places = list(range(1, 60, 13)) + list(range(60, 400, 67))
        print("#", check_cuts([(True, FIRST)], True, changes, places), "cuts")

    def test_a_power_cut_in_a_full_sync_that_comes_in_code_order():
        first = [(b"%08X" % (n * 77777), rule_of(n % 9)) for n in range(120)]
        changes = first[:60] + first[61:] + [(b"FFFFFFFF", rule_of(5))]
        print("#", check_cuts([(True, first)], True, changes), "cuts")
