"""Two hubs on one database, people who write and gates that poll, for minutes.

All in processes of their own, on clocks that run fast and apart and are put back; a reader with
the firmware is one of the gates. What is compared, and when, is in `hub/busy_site.py`.
KALITKA_SOAK_SECONDS in the environment says for how long, on each kind of database, and
KALITKA_SEED=5 begins with another seed than 1.
"""

import os
import random
import time

import pytest
from typer.testing import CliRunner

from hub.busy_site import busy_site
from hub.hub_site import SECRET
from hub.new_databases import new_database
from hub.plain_reader import parse
from kalitka_cli.main import app
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.store.changes import write_transaction
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S

SECONDS = float(os.environ.get("KALITKA_SOAK_SECONDS", "90"))
SEED = int(os.environ.get("KALITKA_SEED", "1"))
ROUND_SECONDS = 15
FIRMWARE = "FIRMWARE-1"
SETTINGS = {"reader": FIRMWARE, "server_token": SECRET, "poll_seconds": 1}


def await_polls(reader, count):
    """Wait until the reader has asked so many times more, and was answered all but the last."""
    asked, until = reader.relay.requests, time.monotonic() + HANG_TIMEOUT_S
    while reader.relay.requests < asked + count + 1:
        assert time.monotonic() < until, "the reader does not poll"
        time.sleep(0.1)


def enough(site):
    """Return whether so much has been done that its absence of faults says something."""
    return min(site.polls(), site.counts["versions"]) > SECONDS


def table_of(reader, folder):
    """Return what stands in the flash of a reader that is off."""
    for path, data in reader.flash_files().items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    dumped = CliRunner().invoke(app, ["table", "dump", str(folder / "table")])
    assert dumped.exit_code == 0, dumped.output
    told: dict[str, set[str]] = {}
    for code, rule in parse(dumped.stdout.removesuffix("\n"))[2]:
        told.setdefault(code, set()).add(rule)
    return told


@pytest.mark.timeout(SECONDS * 20 + 3600)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_no_change_that_was_written_is_missing_at_any_gate(dialect, tmp_path):
    chance = random.Random(SEED)
    with new_database(dialect) as (where, _), busy_site(where, SECRET, SEED) as site:
        with write_transaction(site.database) as session:
            add_or_update_reader(session, FIRMWARE)
        server = ("127.0.0.1", site.ports[0])
        with VirtualReader(tmp_path / "reader", SETTINGS, server) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            until = time.monotonic() + SECONDS
            # As long as was asked for, and until there is enough of it.
            while time.monotonic() < until or not enough(site):
                site.begin()
                for _ in range(ROUND_SECONDS // 3):
                    time.sleep(3)
                    reader.relay.server = ("127.0.0.1", chance.choice(site.ports))
                    # A kept connection would stay with its hub.
                    reader.relay.restore()
                site.end()
            polled = reader.relay.requests
            await_polls(reader, 3)
            reader.power_cut()
            held = table_of(reader, tmp_path / "files")
        print(
            f"\n# soak, {dialect}: {site.polls()} polls and {polled} requests of the firmware, "
            f"{site.counts['versions']} versions, {site.counts['rounds']} rounds"
        )
        assert site.faults == site.given_up == []
        assert held == site.truth(FIRMWARE)
