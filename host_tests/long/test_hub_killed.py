"""Hubs, writers and a whole PostgreSQL killed under load: what was acknowledged is there.

Gates poll and send their logs all the while, and forgive it if no answer comes. Whatever died,
another one is started, and goes on; see `hub/busy_site.py` for what is compared.
KALITKA_KILL_SECONDS in the environment says for how long, of each kind.
"""

import os
import random
import time
from itertools import cycle

import pytest
from sqlalchemy import text

from hub.busy_site import busy_site
from hub.hub_site import SECRET
from hub.new_databases import new_database

SECONDS = float(os.environ.get("KALITKA_KILL_SECONDS", "60"))
SEED = int(os.environ.get("KALITKA_SEED", "1"))
ROUND_SECONDS = 20


def kill(victim, site, server, chance):
    """Kill a hub, a writer or the database server, and start it again."""
    number = chance.randrange(2)
    if victim == "writer":
        site.kill_writer(number)
    elif victim == "server":
        server.kill()
        site.counts["servers killed"] += 1
    else:
        site.kill_hub(number)
        time.sleep(chance.choice((0, 0.3)))
        site.start_hub(number)


def kills(site):
    """Return how often what was killed."""
    return {what: count for what, count in site.counts.items() if what.endswith("killed")}


def enough(site):
    """Return whether so much has been done that its absence of faults says something."""
    done = min(site.polls(), site.counts["entries compared"])
    return done > SECONDS and min(kills(site).values(), default=0) > SECONDS / 20


@pytest.mark.timeout(SECONDS * 20 + 3600)
@pytest.mark.parametrize("mortal", ["sqlite", "postgresql", "postgresql, killed too"])
def test_nothing_that_was_acknowledged_is_lost_whatever_is_killed(mortal):
    dialect, _, killed_too = mortal.partition(", ")
    chance = random.Random(SEED)
    victims = cycle(("hub", "writer", "server") if killed_too else ("hub", "writer"))
    with (
        new_database(dialect) as (where, server),
        busy_site(where, SECRET, SEED, killed=True) as site,
    ):
        until = time.monotonic() + SECONDS
        # As long as was asked for, and until there is enough of it.
        while time.monotonic() < until or not enough(site):
            site.begin()
            until_round = time.monotonic() + ROUND_SECONDS
            while time.monotonic() < until_round:
                time.sleep(chance.uniform(0.1, 1.5))
                kill(next(victims), site, server, chance)
            site.end()
        if dialect == "sqlite":
            with site.database.snapshot() as session:
                assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        killed = kills(site)
        print(
            f"\n# killed, {mortal}: {killed}; {site.polls()} polls, "
            f"{site.counts['versions']} versions, {site.counts['rounds']} rounds"
        )
        assert site.faults == []
        assert killed_too or site.given_up == []
