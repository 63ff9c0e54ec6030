"""Power cuts at every operation of keeping and sending entries, and at every one of what follows.

In a real LittleFS, with three kinds of cut: after each the reader goes on, and in the end the
server has everything that was signalled. Some minutes on two processors.
"""

import pytest

# As in device/power.py: not done, or done and reported as failed. Of the others see `make test`.
FAILURES = ("once", "lies")
STORIES = ("full", "into_the_segment", "without_a_clock", "sending", "first_start")


@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    "check", [("access_log_power", f"check_cuts({name!r})") for name in STORIES], ids=STORIES
)
def test_every_cut_and_every_cut_of_what_follows(check, checks):
    checks.wait_for(check)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check",
    [("access_log_power", f"check_single_failures('full', {kind!r})") for kind in FAILURES],
    ids=FAILURES,
)
def test_every_operation_that_fails_alone(check, checks):
    checks.wait_for(check)
