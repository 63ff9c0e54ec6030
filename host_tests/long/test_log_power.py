"""Power cuts at every operation of the durable log, and at every one of its going on afterwards.

In a real LittleFS, with three kinds of cut: after each what was acknowledged is there, in order,
and the log goes on. The same after every operation that fails alone, or is done and reported as
failed. Then every bit of a small log turned. Some minutes on two processors.
"""

import pytest

# What `make test` does at every third operation only.
MEALS = ("yesterday_gives_way",)
STORIES = ("drop_oldest", "append", "spill", "next_segment", "large", "first_start", "mark")


@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    "check", [("log_power", f"check_cuts({name!r})") for name in STORIES], ids=STORIES
)
def test_every_cut_and_every_cut_of_what_follows(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check", [("log_power", f"check_single_failures({name!r})") for name in STORIES], ids=STORIES
)
def test_every_operation_that_fails_alone(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check",
    [("log_power", f"check_single_failures({name!r}, 'lies')") for name in STORIES],
    ids=STORIES,
)
def test_every_operation_that_is_done_though_it_fails(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("check", [("case_log", "check_bits(1)")])
def test_every_bit_of_a_log_is_missed(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check", [("anti_passback_power", f"check_meal({name!r})") for name in MEALS]
)
def test_every_cut_at_a_meal(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check",
    # What was done though it failed `make test` tries everywhere.
    [("anti_passback_power", f"check_single_failures({name!r}, 'once')") for name in MEALS],
)
def test_every_operation_that_fails_at_a_meal(check, checks):
    checks.wait_for(check)
