"""Hundreds of random syncs, compared with a dictionary, with restarts, power cuts and damage.

Random syncs in MicroPython only; see random_syncs.py. long/test_random_syncs.py does thousands.
The first case is a fault that they found.
"""

from device.scratch import MICROPYTHON, Folder, snapshot
from device.syncs import apply
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


if MICROPYTHON:
    from device.random_syncs import check_histories

    def test_syncs_of_a_few_codes():
        check_histories("small", 1, 80)

    def test_syncs_of_hundreds_of_codes():
        counts = check_histories("mixed", 2, 90)
        assert counts["merges of deltas"] and counts["merges into the base"]

    def test_syncs_that_are_larger_than_the_memory():
        assert check_histories("long", 3, 80)["asked again"]

    def test_syncs_of_thousands_of_cards():
        check_histories("cards", 4, 12)
