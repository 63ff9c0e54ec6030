"""Issue 18, points 5 and 7, the whole way: a reader at a hub with a wrong clock or a new zone."""

import time

from sqlalchemy import update

from hub_command import Hub
from kalitka_hub.site.tokens import TokenSetting
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Audit
from kalitka_sim.reader import VirtualReader


def move_stamps(hub, seconds):
    """Move all stamps of changes, as if the hub's computer had gone the other way."""
    database = open_database(hub.database)
    with write_transaction(database) as session:
        session.execute(update(Audit).values(at=Audit.at + seconds))
    database.close()


def test_5_a_reader_takes_no_time_of_a_hub_whose_clock_is_wrong(tmp_path):
    with Hub(tmp_path / "hub", zone="Europe/Moscow") as hub:
        hub.add_reader("GATE-1")
        hub.set_tokens([TokenSetting("04A1B2", ("3_0_1439_1111111",))])
        hub.start()
        move_stamps(hub, 3600)
        settings = {"reader": "GATE-1", "server_token": hub.secrets["GATE-1"], "poll_seconds": 1}
        settings["ntp_server"] = ""
        with VirtualReader(tmp_path / "reader", settings, server=hub.address) as reader:
            reader.power_on()
            reader.wait_line(
                "clock: not set by the server: the server answered 503 .the hub's clock is wrong: "
            )
            # Everything but the time: the card is known, and waits for the clock.
            reader.wait_line("sync: full")
            assert reader.present("04A1B2").reason == "clock not set"
            # The zone came with the refusal: with a time from elsewhere the rule's hours hold.
            reader.set_clock(time.time())
            outcome = reader.present("04A1B2")
            assert outcome.allowed and outcome.when.endswith("MSK-3")
            seen = len(reader.console)
            move_stamps(hub, -3600)
            reader.wait_line("clock: set by the server", since=seen)
            outcome = reader.present("04A1B2")
            assert outcome.allowed and outcome.when.endswith("MSK-3")


def test_7_a_zone_set_while_the_hub_runs_reaches_its_readers(tmp_path):
    with Hub(tmp_path / "hub", zone="Europe/Moscow") as hub:
        hub.add_reader("GATE-1")
        hub.set_tokens([TokenSetting("04A1B2", ("9_1",))])
        hub.start()
        hub.command("site", "set", "--zone", "Asia/Kathmandu", "--yes")
        settings = {"reader": "GATE-1", "server_token": hub.secrets["GATE-1"], "poll_seconds": 1}
        with VirtualReader(tmp_path / "reader", settings, server=hub.address) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            assert reader.present("04A1B2").when.endswith("<+0545>-5:45")
