"""`kalitka hub kormitel`: an operator sets up a canteen and settles withheld and stuck items."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hub.hub_accounts import everything_in
from hub.kormitel_items import flat, known, send, stay, uid
from hub_command import invoke, runner
from kalitka_hub.accounts.login import check_login
from kalitka_hub.cli.kormitel import PASSWORD_VARIABLE
from kalitka_hub.kormitel import exchange_log
from kalitka_hub.kormitel.exchange_log import ExchangeOutcome
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_existing

ANNA, BORIS = uid(1), uid(2)
STAY = uid(11)
PASSWORD = "a password of the festival"
NO_PASSWORD = {PASSWORD_VARIABLE: None}


@pytest.fixture
def run(where):
    """Run `kalitka hub kormitel` on a new site with the readers GATE-1 and GATE-2."""
    return runner(where, "kormitel", **NO_PASSWORD)


@pytest.fixture
def read(run):
    return lambda *words: json.loads(run(*words, "--json").stdout)


def test_a_canteen_is_set_up_from_nothing_to_an_open_gate(nowhere):
    run = runner(nowhere, "kormitel", **NO_PASSWORD)
    added = invoke("reader", "add", "GATE-1", env={"KALITKA_HUB_DB": nowhere})
    assert added.exit_code == 0, added.output

    connected = run("connect", "kormitel", "--readers", "GATE-1")
    assert "https://HUB/api/v1/feeder/" in connected.stdout
    password = connected.stdout.partition("password  ")[2].strip()
    database = open_existing(nowhere)
    assert check_login(database, "kormitel", password, "here").role == "integration"
    assert password not in everything_in(database)
    database.close()

    today = datetime.now(UTC).date()
    # The date may change during the test.
    first, last = today - timedelta(days=1), today + timedelta(days=2)
    run("add", "badges", "--id", ANNA, "name=Анна", "number=7", "feed=FREE", "qr=Q-1")
    assert "does not eat" in run("why", "7").stdout
    days = f"arrival_date={first}", f"departure_date={last}"
    run("add", "arrivals", "--id", STAY, f"badge={ANNA}", "status=ARRIVED", *days)
    assert json.loads(run("show", "arrivals", STAY, "--json").stdout)["held"] is None
    said = run("why", "анна").stdout
    assert "Анна eats at" in said
    assert f"ARRIVED from {first} to {last}" in said
    assert "GATE-1" in said

    run("set", "badges", ANNA, "is_blocked=yes")
    assert not json.loads(run("why", ANNA, "--json").stdout)["eats"]
    run("set", "badges", ANNA, "is_blocked=")
    assert json.loads(run("why", ANNA, "--json").stdout)["eats"]
    run("remove", "arrivals", STAY)
    assert "it is deleted" in run("why", ANNA).stdout


def test_a_password_may_come_from_the_environment(run, database):
    said = run("connect", "kormitel", **{PASSWORD_VARIABLE: PASSWORD})
    assert PASSWORD not in said.output
    assert "kitchen set" in said.stderr
    assert check_login(database, "kormitel", PASSWORD, "here").name == "kormitel"
    # If one part fails, nothing is written.
    run("connect", "other", "--readers", "GATE-9", status=1)
    assert "already" in run("connect", "kormitel", status=2).stderr
    assert "other" not in run("status").stdout


def test_objects_are_listed_shown_changed_and_removed(run, read, database):
    run("add", "badges", "--id", ANNA, "name=12", "number=12", "ticket=[1]", "vegan=no")
    run("add", "badges", "--id", BORIS, "first_name=Борис", "is_blocked=true")
    refused = run("set", "badges", BORIS, "batch=x", status=2)
    assert "takes only a number up to 2147483647: write such a number" in refused.stderr
    send(database, badges=[flat(BORIS, batch="x")])
    paid = (f"badge={ANNA}", "departure_date=2026-11-20", "is_free=no", "n=3")
    run("add", "paid_arrivals", "--id", "5", *paid)
    assert known(database, "badges", ANNA).fields == {
        **{"name": "12", "number": "12"},
        **{"ticket": [1], "vegan": False},
    }
    assert [one["id"] for one in read("list", "badges")] == [ANNA, BORIS]
    assert [one["id"] for one in read("list", "badges", "--blocked")] == [BORIS]
    assert [one["id"] for one in read("list", "badges", "--name", "1")] == [ANNA]
    assert "Борис" in run("list", "badges").stdout
    assert "n: 3" in run("list", "paid_arrivals").stdout
    shown = run("show", "badges", BORIS).stdout
    assert "only batch: its batch is 'x'" in shown
    assert " changed" in run("set", "badges", BORIS, "batch=").stdout
    assert read("show", "badges", BORIS)["held"] is None
    assert "unchanged" in run("set", "badges", BORIS, "batch=").stdout
    run("add", "directions", "name=North", "first_year=2025", "last_year=2026")
    assert read("list", "directions")[0]["first_year"] == 2025
    run("remove", "badges", BORIS)
    assert [one["id"] for one in read("list", "badges", "--deleted")] == [BORIS]
    assert "is_blocked" in run("list", "badges", "--deleted").stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("add", "badges", "name"), 2, "FIELD=VALUE"),
        (("add", "badges", "name=A", "name=B"), 2, "twice"),
        (("add", "badges", "feed=some"), 2, "feed"),
        (("add", "badges", "is_blocked=often"), 2, "is_blocked"),
        (("add", "1x", "name=A"), 2, "not a valid group"),
        (("add", "arrivals", "status=LEFT"), 2, "badge is missing"),
        (("set", "badges", ANNA, "name=A"), 1, "no " + ANNA),
        (("remove", "badges", ANNA), 1, "no " + ANNA),
        (("show", "badges", ANNA), 1, "no " + ANNA),
        (("list", "persons", "--blocked"), 2, "--blocked does not apply"),
        (("why", "nobody"), 1, "no badge"),
        (("aside", "apply", "9"), 1, "aside list"),
        (("kitchen", "set", "*", "GATE-9"), 1, "GATE-9"),
        (("kitchen", "remove", "North"), 1, "North"),
        (("meal", "set", "lunch", "12", "15:00"), 2, "start"),
        (("meal", "remove", "lunch"), 1, "lunch"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    run, database, words, status, said
):
    before = everything_in(database)
    result = run(*words, status=status)
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert everything_in(database) == before


def test_kitchens_and_meals_are_set_one_by_one(run, read):
    run("kitchen", "set", "*", "*")
    run("kitchen", "set", "North", "GATE-2", "GATE-1")
    assert "unchanged" in run("kitchen", "set", "North", "GATE-1", "GATE-2").stdout
    assert read("kitchen", "list") == {"*": ["*"], "North": ["GATE-1", "GATE-2"]}
    run("meal", "set", "lunch", "12:00", "15:00")
    run("meal", "set", "supper", "22:00", "01:00", "--night")
    run("meal", "set", "lunch", "12:30", "15:00")
    assert [(one["name"], one["start"], one["night"]) for one in read("meal", "list")] == [
        ("lunch", "12:30", False),
        ("supper", "22:00", True),
    ]
    assert "North" in run("kitchen", "list").stdout
    run("kitchen", "remove", "North")
    run("meal", "remove", "lunch")
    assert read("kitchen", "list") == {"*": ["*"]}
    assert [one["name"] for one in read("meal", "list")] == ["supper"]


def test_what_is_stuck_is_seen_and_settled(run, read, database):
    send(database, badges=[flat(ANNA, kitchen="North"), flat(BORIS, batch="x")])
    send(database, arrivals=[flat(STAY, **stay(uid(9)))], badges=[{"data": {"name": "\x1b[2J"}}])
    glance = run("status").stdout
    assert "North: badges 1" in glance
    assert "2, see `aside list`" in glance
    assert read("held")[0]["id"] == BORIS
    assert "takes only a number" in run("held").stdout

    listed = run("aside", "list").stdout
    assert f"its badge {uid(9)} is not known here" in listed
    assert "\x1b[2J" not in listed
    by_group = {one["group"]: one["id"] for one in read("aside", "list")}
    number, nameless = str(by_group["arrivals"]), str(by_group["badges"])
    assert STAY in run("aside", "show", number).stdout
    assert uid(9) in run("aside", "apply", number, status=2).stderr
    run("aside", "apply", number, "--set", f"badge={ANNA}", "--set", "status=LEFT")
    assert known(database, "arrivals", STAY).fields["status"] == "LEFT"
    run("aside", "dismiss", nameless)
    assert read("aside", "list") == []
    assert [one["state"] for one in read("aside", "list", "--state", "applied")] == ["applied"]
    assert "already" in run("aside", "dismiss", nameless, status=2).stderr


def test_the_exchange_is_seen_paused_and_resumed(run, read, database):
    with write_transaction(database) as session:
        for error in (None, "broken off after 10 bytes"):
            outcome = ExchangeOutcome({"badges": 3}, 1000, 250_000, error)
            exchange_log.record(session, "partner", "sync", outcome, shape="flat", from_date=0)
    assert [one["error"] for one in read("exchanges")] == [None, "broken off after 10 bytes"]
    assert len(read("exchanges", "--failed")) == 1
    assert len(read("exchanges", "--limit", "1")) == 1
    shown = run("exchanges").stdout
    assert "badges 3" in shown
    assert "1970-01-01 00:00:00" in shown
    glance = run("status").stdout
    assert "sync by partner" in glance
    assert "broken off after 10 bytes" in glance
    assert "running" in glance
    run("pause")
    assert "already" in run("pause").stdout
    assert "paused since 20" in run("status").stdout
    assert read("status")["paused"]
    run("resume")
    assert "was not paused" in run("resume").stdout
