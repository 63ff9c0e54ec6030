"""A day of 5,000 passes against the real hub, with failing power, link and hub: nothing is lost.

See host_tests/week.py for what happens and how it is compared; the week has other outages.
"""

import pytest

from week import Week, check, summary


@pytest.mark.timeout(3600)
def test_a_days_log_is_at_the_hub_exactly_as_it_happened(tmp_path):
    days = Week(tmp_path, 1, 22)
    rows = days.run()
    found = check(days.doors, rows)
    print(f"# a day: {summary(days.doors, rows, found)}")
    assert len(rows) > 4500 and days.doors.power_cuts and days.doors.link_cuts
