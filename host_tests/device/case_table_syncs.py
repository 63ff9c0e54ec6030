"""Some hundred syncs at random against a dictionary, with reopenings, power cuts and damage.

In MicroPython only; see random_syncs.py. long/test_random_syncs.py does thousands.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    from device.random_syncs import check_histories

    def test_syncs_of_a_few_codes():
        check_histories("small", 1, 80)

    def test_syncs_of_hundreds_of_codes():
        counts = check_histories("mixed", 2, 90)
        assert counts["merges of deltas"] and counts["merges into the base"]

    def test_syncs_that_are_larger_than_the_memory():
        assert check_histories("long", 3, 80)["sorted in flash"]

    def test_syncs_of_thousands_of_cards():
        check_histories("cards", 4, 12)
