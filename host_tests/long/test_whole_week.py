"""A week of 5,000 passes a day against the real hub: see host_tests/week.py. Some five minutes."""

import pytest

from week import Week, check, summary


@pytest.mark.timeout(14400)
@pytest.mark.parametrize("seed", [1])
def test_a_weeks_log_is_at_the_hub_exactly_as_it_happened(tmp_path, seed):
    days = Week(tmp_path, 7, seed)
    rows = days.run()
    found = check(days.doors, rows)
    print(f"# a week: {summary(days.doors, rows, found)}")
    assert len(rows) > 7 * 4500
