"""Kormitel and the hub agree in the end: `hub/test_kormitel_model.py` with seed after seed.

KALITKA_KORMITEL_SECONDS in the environment says for how long, on each kind of database, and
KALITKA_SEED=5 begins with another seed than 1.
"""

import os
import time

import pytest

from hub.kormitel_world import World
from hub.new_databases import new_database

SECONDS = float(os.environ.get("KALITKA_KORMITEL_SECONDS", "30"))
SEED = int(os.environ.get("KALITKA_SEED", "1"))
RUNS = 40


@pytest.mark.timeout(SECONDS * 20 + 3600)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_both_sides_agree_in_the_end_whatever_the_seed(dialect):
    until, seed = time.monotonic() + SECONDS, SEED
    while time.monotonic() < until:
        with new_database(dialect) as (where, _), World(where, seed) as world:
            for _ in range(RUNS):
                world.go(1)
                assert world.wrong_rules() == [], f"KALITKA_SEED={seed}"
            world.repair_and_sync()
            assert world.disagreements() == [], f"KALITKA_SEED={seed}"
        seed += 1
    print(f"{dialect}: seeds {SEED} to {seed - 1}")
