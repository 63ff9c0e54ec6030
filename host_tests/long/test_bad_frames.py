"""Bad frames from the scanner's wires: none becomes a code, and the card behind each is read.

In MicroPython, in virtual time; the counts are printed. Three minutes on two processors.
"""

import pytest

CHECKS = [("bad_frames", f"check_frames({seed}, 5000)") for seed in (1, 2)]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("check", CHECKS, ids=[check[1] for check in CHECKS])
def test_no_bad_frame_becomes_a_code(check, checks):
    output = checks.wait_for(check)
    assert output.count("no wrong code") == 7
