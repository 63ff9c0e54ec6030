"""Kormitel and the hub agree at the end, whatever was changed, lost and repeated before.

A failed test has its seed in its name; `long/test_kormitel_long.py` tries other seeds.
"""

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_world import World

RUNS = 20


@ON_SQLITE
@pytest.mark.parametrize("seed", [11, 24, 25])
def test_both_sides_agree_in_the_end(where, seed):
    with World(where, seed) as world:
        for _ in range(RUNS):
            world.go(1)
            assert world.wrong_rules() == []
        world.repair_and_sync()
        assert world.disagreements() == []
