"""Thousands of syncs at random against a dictionary, with reopenings, power cuts and damage.

Each seed is a history of its own; KALITKA_SEED=5 in the environment begins with another one
than 1. A failure names its site, seed and step. Four minutes on two processors.
"""

import os
import re

import pytest

FIRST = int(os.environ.get("KALITKA_SEED", "1"))
# By site: how many histories of how many steps.
HISTORIES = {"cards": (2, 600), "mixed": (4, 1000), "long": (4, 1000), "small": (4, 1000)}
CHECKS = [
    ("random_syncs", f"check_histories({site!r}, {seed}, {steps})")
    for site, (count, steps) in HISTORIES.items()
    for seed in range(FIRST, FIRST + count)
]
totals = {}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("check", CHECKS, ids=[check[1] for check in CHECKS])
def test_a_history_of_syncs(check, checks):
    output = checks.wait_for(check)
    for name, count in re.findall(r" ([a-z ]+) (\d+)", output.partition(":")[2]):
        totals[name] = totals.get(name, 0) + int(count)


def test_everything_happened_often():
    if len(CHECKS) * 8 > totals.get("syncs", 0):
        pytest.skip("not all histories were lived through")
    print("# in all:", ", ".join(f"{name} {count}" for name, count in sorted(totals.items())))
    assert totals["syncs"] > 5000
    assert totals["merges of deltas"] > 100 and totals["merges into the base"] > 100
    assert totals["asked again"] > 50 and totals["no room"] > 20
    assert totals["cuts in time"] > 500 and totals["cuts behind the commit"] > 20
    assert totals["damage noticed"] > 100
