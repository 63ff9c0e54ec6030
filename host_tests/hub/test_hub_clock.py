"""Issue 18, point 5: the hub knows when its own clock is wrong, and says so everywhere."""

import json
import logging
import threading
import time

import pytest
from fastapi.testclient import TestClient

from hub.hub_accounts import add_user
from hub.hub_site import START, headers
from hub_command import runner
from kalitka_hub.reader_api.token_reader_api import ZONE_HEADER
from kalitka_hub.server import app as hub_app
from kalitka_hub.server.app import create_app
from kalitka_hub.site.clock_check import clock_problem, newest_stamp
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.site.schedules import HolidaySetting, add_holiday
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import AccessEntry, Token
from kalitka_sim.timeouts import HANG_TIMEOUT_S

TIMES = ["/api/v1/token-reader/time", "/api/v2/token-reader/time"]
LOGS = "/api/v1/token-reader/access-logs"
SENTENCE = "the hub's clock is wrong: it says "


def change_token(site):
    site.set("04A1B2C3", "9_1")


def remove_token(site):
    site.set("04A1B2C3", "9_1")
    site.remove("04A1B2C3")


def add_reader(site):
    with write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-3")


def add_a_holiday(site):
    with write_transaction(site.database) as session:
        set_zone(session, "UTC")  # a holiday without a zone has its own refusal
        add_holiday(session, HolidaySetting(date="2026-12-31"))


def change_zone(site):
    with write_transaction(site.database) as session:
        set_zone(session, "Asia/Omsk")


def add_a_user(site):
    add_user(site.database, "ann", "viewer")


def send_plain_log(site):
    answer = site.client.post(LOGS, content=f"{START * 60}_04A1B2C3_1", headers=headers())
    assert answer.text == "ok,1"


def send_log(site):
    numbered = headers() | {"X-Kalitka-Log": "0123abcd"}
    answer = site.client.post(LOGS, content=b"0_04A1B2C3_1_7_0_1", headers=numbered)
    assert answer.text == "ok,1"


STAMPS = [
    *(change_token, remove_token, add_reader, add_a_holiday, change_zone, add_a_user),
    *(send_plain_log, send_log),
]


def ask(site, path):
    return site.client.get(path, headers=headers())


@pytest.mark.parametrize("stamp", STAMPS)
def test_5_a_clock_before_the_newest_stamp_is_refused_to_readers(site, stamp):
    stamp(site)
    site.clock.minute -= 1  # a minute is what two computers may differ by
    assert [ask(site, path).status_code for path in TIMES] == [200, 200]
    assert site.client.get("/healthz").text == "ok"
    for back in (1, 59, 60, 24 * 60, 180 * 24 * 60, START - 1):
        site.clock.minute = START - 1 - back
        for path in TIMES:
            answer = ask(site, path)
            assert answer.status_code == 503
            assert answer.text.startswith(SENTENCE) and answer.text.count("\n") == 1
            assert "2026-11-21" in answer.text and "confirm-clock" in answer.text
        health = site.client.get("/healthz")
        assert (health.status_code, health.text) == (503, answer.text)
    # Everything else goes on, and the time does once the clock is right.
    assert site.ask("0")
    site.clock.minute = START
    assert [ask(site, path).status_code for path in TIMES] == [200, 200]


@pytest.mark.parametrize(
    "zone", ["Europe/Moscow", "EET-2EEST,M3.5.0/3,M10.5.0/4", "<+0545>-5:45", "Etc/GMT+3", "UTC"]
)
def test_5_a_refused_time_does_not_withhold_the_zone(site, zone):
    with write_transaction(site.database) as session:
        set_zone(session, zone)
    told = ask(site, TIMES[1]).text.split(",", 1)[1].rpartition(",")[0]
    assert ZONE_HEADER not in ask(site, TIMES[1]).headers
    site.clock.minute -= 60
    for path in TIMES:
        assert ask(site, path).headers[ZONE_HEADER] == told


def test_5_status_says_that_the_clock_is_wrong(site, clock, monkeypatch):
    add_user(site.database, "ann", "viewer")
    clock.minute -= 60
    with site.database.snapshot() as session:
        told = clock_problem(session, clock())
    assert told.startswith(SENTENCE)
    run = runner(site.where)
    monkeypatch.setattr("kalitka_hub.store.database.open_existing.__defaults__", (clock,))
    for words in (["status"], ["site", "show"]):
        assert json.loads(run(*words, "--json").stdout)["clock_problem"] == told
        assert "clock problem" in run(*words).stdout
    clock.minute += 60
    assert json.loads(run("status", "--json").stdout)["clock_problem"] is None
    assert "clock problem" not in run("status").stdout


def test_5_the_log_says_it_once_and_that_it_is_over(database, clock, caplog, monkeypatch):
    monkeypatch.setattr(hub_app, "_CALENDAR_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "kalitka_hub")
    with write_transaction(database) as session:
        set_zone(session, "Europe/Moscow")
    clock.minute -= 60

    def told(beginning):
        return [text for text in caplog.messages if text.startswith(beginning)]

    def until(beginning):
        waited = threading.Event()
        for _ in range(int(HANG_TIMEOUT_S * 50)):
            if told(beginning):
                return
            waited.wait(0.02)
        pytest.fail(f"not logged: {beginning}")

    with TestClient(create_app(database)):
        until(SENTENCE)
        clock.minute += 60
        until("the hub's clock is right again")
        with write_transaction(database) as session:
            set_zone(session, "Asia/Omsk")
        until("the site's zone changed")
    assert len(told(SENTENCE)) == len(told("the hub's clock is right again")) == 1


def test_5_a_reader_whose_clock_is_ahead_does_not_condemn_the_hubs(site):
    ahead = (START + 10 * 365 * 24 * 60) * 60
    body = f"{ahead}_04A1B2C3_1_7_0_1".encode()
    sent = site.client.post(LOGS, content=body, headers=headers() | {"X-Kalitka-Log": "0123abcd"})
    assert sent.text == "ok,1"
    assert ask(site, TIMES[1]).status_code == 200


def test_5_the_minutes_of_changes_are_counters_and_condemn_nothing(site):
    # The clock is set back by half a minute, and the site is busy: minutes run ahead of it.
    site.clock.second = 5
    site.ask("0")
    site.clock.minute -= 1
    site.clock.second = 59
    for round in range(10):
        site.set("04A1B2C3", f"1_{round}_99999999")
        site.ask("0")
    with site.database.snapshot() as session:
        assert session.query(Token.changed).scalar() > site.clock.minute + 5
    assert ask(site, TIMES[1]).status_code == 200


def test_5_a_right_clock_can_be_confirmed_after_it_was_ahead(site, clock, monkeypatch):
    clock.minute += 4 * 365 * 24 * 60
    change_token(site)
    send_log(site)
    clock.minute = START
    assert ask(site, TIMES[1]).status_code == 503
    monkeypatch.setattr("kalitka_hub.store.database.open_existing.__defaults__", (clock,))
    told = runner(site.where)("site", "confirm-clock").stdout
    assert "clock confirmed: it is 2026-11-21" in told
    assert ask(site, TIMES[1]).text == f"{START},UTC0,{START * 60 + 38}"
    assert site.client.get("/healthz").text == "ok"
    # From now on a clock that goes back is noticed again.
    change_token(site)
    site.remove("04A1B2C3")
    clock.minute -= 10
    assert ask(site, TIMES[1]).status_code == 503


def test_5_entries_of_a_wrong_clock_do_not_hide_the_right_ones(site, clock):
    send_log(site)
    clock.minute -= 60
    numbered = headers() | {"X-Kalitka-Log": "0123abcd"}
    for number in range(2, 300):
        body = f"0_04A1B2C3_1_7_0_{number}".encode()
        assert site.client.post(LOGS, content=body, headers=numbered).text == "ok,1"
    with site.database.snapshot() as session:
        newest = session.query(AccessEntry.received).order_by(AccessEntry.received.desc())
        assert newest_stamp(session) == newest.limit(1).scalar() == START * 60 + 38
    assert ask(site, TIMES[1]).status_code == 503


def test_5_without_stamps_any_clock_may_be_right(nowhere, clock):
    from kalitka_hub.store.database import open_database

    empty = open_database(nowhere, clock)
    with empty.snapshot() as session:
        assert newest_stamp(session) is None
        assert clock_problem(session, 0) is None
        assert clock_problem(session, time.time()) is None
    empty.close()
