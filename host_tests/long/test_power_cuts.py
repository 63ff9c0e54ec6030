"""Power cuts at every operation of every kind of sync, and at every one of each recovery.

In a real LittleFS, with three kinds of cut for the first and three for the second: some 27,000
in all. After each the file system mounts, the table is the old one or the new one in every entry,
looked up and listed, and the next sync brings the new one. Six minutes on two processors.
"""

import pytest

SCENARIOS = (
    "merge_into_the_base",
    "merge_of_deltas",
    "incremental_and_large",
    "sorted_in_flash",
    "full",
    "ordered_and_large",
    "ordered",
    "first_start",
    "incremental",
    "minute_alone",
)


@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    "check", [("power", f"check_cuts({name!r})") for name in SCENARIOS], ids=SCENARIOS
)
def test_every_cut_and_every_cut_of_its_recovery(check, checks):
    checks.wait_for(check)


# Each try sorts and merges thousands of codes, a second's work: so not every operation is cut.
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("check", [("power", "check_cuts('runs_merged_to_fewer', 23, 409)")])
def test_some_cuts_of_a_sort_of_more_runs_than_are_merged_at_once(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    "check",
    # Not of a minute alone: after a failure it stays in memory, for an hour at most.
    [("power", f"check_single_failures({name!r}, 'lies')") for name in SCENARIOS[:-1]],
    ids=SCENARIOS[:-1],
)
def test_every_operation_that_is_done_though_it_fails(check, checks):
    checks.wait_for(check)
