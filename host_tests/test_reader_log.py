"""The access log of the whole reader: from the pins to the hub's database, over power cuts."""

import json
import sqlite3
import time
from contextlib import closing

import pytest

from hub_command import Hub
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim.reader import VirtualReader, wiegand_bits
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from scripted_server import Script, ScriptedServer, reply

MONDAY_0930_MSK = 1795415400  # 2026-11-23 06:30 UTC
READER = 4  # the source of what a reader says of itself
PROVISIONAL = 3  # the reason "its time is provisional"
HOUR = 3600  # far longer than any of these tests takes
SWITCHES = dict.fromkeys(("exit_button", "door_contact", "alarm_contact"), "normally-open")


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as hub:
        hub.add_reader("GATE-1")
        hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",)), TokenSetting("DEADBEEF", ("9_0",))])
        hub.start()
        yield hub


def at_the_hub(hub, tmp_path, **settings):
    values = {"reader": "GATE-1", "server_token": hub.secrets["GATE-1"], "poll_seconds": 1}
    values |= {"log_upload_seconds": 0, **SWITCHES, **settings}
    return VirtualReader(tmp_path / "reader", values, server=hub.address)


def wait_for_log(hub, count):
    """Wait until the hub has `count` entries of cards and doors; return its list of them."""
    deadline = time.monotonic() + HANG_TIMEOUT_S
    while entries_at(hub) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return [
        (row["code"], row["state"], row["reason"], row["source"]) for row in listed_entries(hub)
    ]


def entries_at(hub):
    """Return the number of entries in the hub's database, less those of the reader itself."""
    with closing(sqlite3.connect(f"file:{hub.database}?mode=ro", uri=True)) as database:
        sql = "SELECT COUNT(*) FROM access_entries WHERE source != ?"
        return database.execute(sql, [READER]).fetchone()[0]


def listed_entries(hub):
    """Return what `log list` has of cards and doors."""
    found = json.loads(hub.command("log", "list", "--json"))
    return [row for row in found if row["source"] != READER]


def test_every_decision_is_at_the_hub_with_its_reason_and_time(hub, tmp_path):
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.set_clock(MONDAY_0930_MSK)
        assert reader.present("04A1B2C3").opened
        assert reader.present("DEADBEEF").reason == "never allowed"
        assert reader.present("12345678").reason == "unknown code"
        expected = [("04A1B2C3", 1, 7, 0), ("DEADBEEF", 0, 1, 0), ("12345678", 0, 8, 0)]
        assert wait_for_log(hub, 3) == expected
        times = [row["at"] for row in listed_entries(hub)]
        assert times == sorted(times)
        assert MONDAY_0930_MSK <= times[0] <= times[-1] < MONDAY_0930_MSK + HOUR
        shown = hub.command("log", "list", "--denied")
        assert "unknown code" in shown
        assert "04A1B2C3" not in shown


def test_exit_button_door_and_alarm_by_kind(hub, tmp_path):
    with at_the_hub(hub, tmp_path, door_open_seconds=0.5, lock_seconds=4) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        lock = reader.board["LOCK"]
        reader.set_switch("EXIT_BUTTON", True)
        reader.wait_pin(lock, 1)
        # The door was opened with the lock open: not forced, but later open for too long.
        reader.set_switch("DOOR_CONTACT", True)
        reader.set_switch("EXIT_BUTTON", False)
        reader.wait_line(" door held open")
        reader.set_switch("DOOR_CONTACT", False)
        reader.wait_line(" door shut, it was held open")
        reader.wait_pin(lock, 0)
        time.sleep(1.3)  # a door opened within a second after that does not count as forced
        reader.set_switch("DOOR_CONTACT", True)
        reader.wait_line(" door forced")
        reader.set_switch("DOOR_CONTACT", False)
        reader.wait_line(" door shut, it was forced")
        reader.set_switch("ALARM_CONTACT", True)
        reader.wait_line(" alarm on")
        reader.set_switch("ALARM_CONTACT", False)
        reader.wait_line(" alarm off")
        assert wait_for_log(hub, 7) == [
            ("btn-exit", 1, 0, 1),
            ("door-held", 1, 1, 2),
            ("door-held", 0, 1, 2),
            ("door-forced", 1, 0, 2),
            ("door-forced", 0, 0, 2),
            ("alarm", 1, 0, 3),
            ("alarm", 0, 0, 3),
        ]


def test_1_over_http_the_hub_learns_at_each_start_that_the_time_is_provisional(hub, tmp_path):
    with at_the_hub(hub, tmp_path) as reader:
        for starts in range(1, 3):
            reader.power_on()
            deadline = time.monotonic() + HANG_TIMEOUT_S
            found = []
            while len(found) < starts and time.monotonic() < deadline:
                found = json.loads(hub.command("log", "list", "--json"))
            told = [(row["source"], row["state"], row["reason"]) for row in found]
            assert told == [(READER, 1, PROVISIONAL)] * starts
            reader.power_cut()


def test_a_plain_server_is_told_what_it_knows(tmp_path):
    answers = [
        reply(b"29921460,MSK-3,%d" % MONDAY_0930_MSK),
        reply(b"29921460%%\n04A1B2C3_/9_1"),
        reply(b"ok,0"),
    ]
    script = Script(answers, repeat=True)
    with ScriptedServer([script]) as server:
        settings = {**SWITCHES, "log_upload_seconds": 2, "poll_seconds": 600}
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", settings, where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.set_switch("DOOR_CONTACT", True)
            reader.wait_line(" door forced")
            assert reader.present("04A1B2C3").opened
            assert reader.present("12345678").reason == "unknown code"
            deadline = time.monotonic() + HANG_TIMEOUT_S
            while len(server.requests) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
    heads = [head.splitlines()[0] for head, _ in server.requests]
    assert heads[2] == "POST /api/v1/token-reader/access-logs HTTP/1.1"
    assert "X-Kalitka-Log" not in server.requests[2][0]
    told = [entry.split("_") for entry in server.bodies[2].split(",")]
    assert [entry[1:] for entry in told] == [["alarm", "1"], ["04A1B2C3", "1"], ["12345678", "0"]]
    assert MONDAY_0930_MSK <= int(told[0][0]) <= int(told[2][0]) < MONDAY_0930_MSK + HOUR


def test_what_happened_without_hub_and_clock_comes_later_with_its_time(hub, tmp_path):
    with at_the_hub(hub, tmp_path) as reader:
        assert reader.relay
        reader.power_on()
        reader.wait_line("sync: full")
        reader.relay.cut()
        reader.power_cut()
        reader.power_on()
        before = time.time()
        assert reader.present("04A1B2C3").when == "clock not set"
        after = time.time()
        # Over another power cut, after which the first entry can no longer get a time.
        reader.power_cut()
        reader.power_on()
        assert reader.present("DEADBEEF").reason == "never allowed"
        between = time.time()
        reader.relay.restore()
        wait_for_log(hub, 2)
        way = time.time() - between
        first, second = sorted(listed_entries(hub), key=lambda row: row["number"])
        assert (first["code"], second["code"]) == ("04A1B2C3", "DEADBEEF")
        assert (first["timed"], second["timed"]) == (False, True)
        # The clock is behind by at most a whole second of the server's and of the reader's, and
        # the network's delay.
        assert before <= after <= second["at"] + 3 + way
        assert second["at"] <= between + 1


def test_an_entry_is_in_flash_before_the_door_opens(hub, tmp_path):
    with at_the_hub(hub, tmp_path) as reader:
        assert reader.relay
        reader.power_on()
        reader.wait_line("sync: full")
        reader.relay.cut()
        lock = reader.board["LOCK"]
        for _ in range(3):
            reader.send_pulses(wiegand_bits("04A1B2C3"))
            reader.wait_pin(lock, 1)
            reader.power_cut()
            reader.power_on()
        reader.relay.restore()
        assert wait_for_log(hub, 3) == [("04A1B2C3", 1, 7, 0)] * 3
