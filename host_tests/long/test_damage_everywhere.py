"""Every bit of every file of a small table turned, and every file cut to every length.

A table of one block and two deltas and one of several blocks; then every bit of the runs that a
sync sorts in, between their writing and their reading. Three minutes on two processors.
"""

import pytest

FILES = range(4)  # base, two deltas, manifest


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check", [("damage", f"check_every_bit({n}, {cards})") for cards in (300, 6) for n in FILES]
)
def test_every_bit_of_a_file_is_missed(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("check", [("damage", f"check_every_length({c})") for c in (300, 6)])
def test_every_byte_at_the_end_of_a_file_is_missed(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check", [("damage", f"check_every_bit_of_runs({full})") for full in (True, False)]
)
def test_every_bit_of_a_run_is_missed(check, checks):
    checks.wait_for(check)
