"""Hundreds of random syncs, compared with a dictionary, with restarts, power cuts and damage.

Random syncs in MicroPython only; see random_syncs.py. long/test_random_syncs.py does thousands.
The first case is a fault that they found.
"""

from device.scratch import MICROPYTHON, Folder, snapshot
from device.syncs import apply, check_entries, in_code_order, shuffled
from kalitka.access import packing
from kalitka.table.table import Table


def test_an_unchanged_answer_writes_nothing_where_rule_sets_have_lost_their_numbers():
    # Four hundred guests with a time window of their own: more than can have numbers. When half of
    # them have left, the rest could have numbers, but some of their rule sets are still in place.
    guests = [(b"%08X" % n, packing.pack(b"1_%d_29999999" % (29900000 + n))) for n in range(400)]
    with Folder() as folder:
        table = Table(folder + "/table")
        apply(table, True, guests, 1)
        for n in range(5):
            apply(table, False, [(code, None) for code, _ in guests[n * 40 : n * 40 + 40]], 2 + n)
        before = snapshot(table.folder)
        apply(table, True, guests[200:], 9)
        assert snapshot(table.folder) == before
        assert table.minute == 9
        table.close()


# As many codes as a real server repeated at each poll until its minute was over.
CHANGED = 1995


def _repeated(table, changes, written):
    # Applies changes that do not fit the memory, then again and again as a server does until the
    # minute is over; returns how much the first time and all others wrote. written: see below.
    begin = written()
    assert not apply(table, False, changes, 100)
    first = written() - begin
    for _ in range(5):
        assert not apply(table, False, changes, 100)
    return first, written() - begin - first


def _changes(rules):
    # Deletes of the changed codes, then their new rules.
    codes = [b"%08X" % (n * 7919) for n in range(CHANGED)]
    return [(code, None) for code in codes] + [(code, rules(n)) for n, code in enumerate(codes)]


def _some_rule(n):
    return packing.pack(b"1_%d_29999999" % (29900000 + n % 300))


def _other_rule(n):
    return packing.pack(b"1_%d_29999998" % (29900000 + n % 300))


def test_point_14_changes_that_come_again_change_nothing_in_either_order():
    changes = _changes(_some_rule)
    for answer in (changes, shuffled(changes)):
        with Folder() as folder:
            table = Table(folder + "/table")
            apply(table, True, [(b"A1", packing.pack(b"9_1"))], 99)
            apply(table, False, answer, 100)
            before = snapshot(table.folder)
            for minute in (100, 100, 101, 101):
                assert not apply(table, False, answer, minute)
                assert snapshot(table.folder) == before
                assert table.minute == minute
            table.close()


def test_point_14_an_answer_with_one_difference_is_asked_for_again_and_applied():
    changes = _changes(_some_rule)
    code = b"%08X" % (1000 * 7919)
    others = (
        [change for change in changes if change != (code, _some_rule(1000))],  # its rule is gone
        [(c, _other_rule(1000) if c == code and rule else rule) for c, rule in changes],
        changes + [(code, _other_rule(1000))],  # one more
        changes + [(b"NEW", _some_rule(3))],
        changes + [(b"A1", None)],
    )
    for answer in others:
        with Folder() as folder:
            table = Table(folder + "/table")
            apply(table, True, [(b"A1", packing.pack(b"9_1"))], 99)
            apply(table, False, changes, 100)
            assert apply(table, False, answer, 100), "the server is asked again"
            known = {b"A1": packing.pack(b"9_1")}
            for changed, rule in answer:
                if rule is None:
                    known.pop(changed, None)
            for changed, rule in answer:
                if rule is not None:
                    known[changed] = b"".join(sorted([rule, known.get(changed, b"")]))
            check_entries(table, in_code_order(known))
            table.close()


def test_point_14_an_answer_that_comes_for_the_first_time_is_asked_for_once():
    with Folder() as folder:
        table = Table(folder + "/table")
        apply(table, True, [(b"A1", packing.pack(b"9_1"))], 99)
        assert not apply(table, False, _changes(_some_rule), 100)
        assert not apply(table, False, [(b"A1", None)], 103)
        # What fits the memory never needs a second answer.
        assert not apply(table, False, [(b"B2", _some_rule(1))], 103)
        assert not apply(table, False, _changes(_other_rule), 104)
        table.close()


if MICROPYTHON:
    import vfs

    from device.ramdisk import RamDisk
    from device.random_syncs import check_histories

    class _CountingDisk(RamDisk):
        written = 0  # bytes

        def writeblocks(self, block, buf, offset=None):
            self.written += len(buf)
            RamDisk.writeblocks(self, block, buf, offset)

    def test_point_14_changes_that_come_again_write_no_byte():
        for answer in (_changes(_some_rule), shuffled(_changes(_some_rule))):
            disk = _CountingDisk(256)
            vfs.VfsLfs2.mkfs(disk)
            vfs.mount(vfs.VfsLfs2(disk), "/counted")
            try:
                table = Table("/counted/table")
                apply(table, True, [(b"A1", packing.pack(b"9_1"))], 99)
                first, others = _repeated(table, answer, lambda disk=disk: disk.written)
                assert first > 20000 and not others, (first, others)
                table.close()
            finally:
                vfs.umount("/counted")

    def test_syncs_of_a_few_codes():
        check_histories("small", 1, 80)

    def test_syncs_of_hundreds_of_codes():
        counts = check_histories("mixed", 2, 90)
        assert counts["merges of deltas"] and counts["merges into the base"]

    def test_syncs_that_are_larger_than_the_memory():
        assert check_histories("long", 3, 80)["asked again"]

    def test_syncs_of_thousands_of_cards():
        check_histories("cards", 4, 12)
