"""Point 18: an unknown reader that asks is listed with a hint, counted, within bounds."""

import json

import pytest
from sqlalchemy.exc import OperationalError

from hub.hub_accounts import API, program
from hub.hub_site import SECRET, START, SYNC, headers
from hub_command import runner
from kalitka_hub.site import unknown_readers
from kalitka_hub.site.reader_secrets import set_reader_secret
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.site.unknown_readers import NAMES_MAX, UnknownReaderRecorder, list_unknown
from kalitka_hub.store.changes import write_transaction

TIMES = "/api/v2/token-reader/time"


def ask(site, code, times=1, token=SECRET):
    for _ in range(times):
        sent = headers(code) | {"X-AuthToken": token}
        assert site.client.post(SYNC, content="0", headers=sent).status_code == 403


def listed(site):
    with site.database.snapshot() as session:
        return [(one.code, one.requests, one.last) for one in list_unknown(session)]


def test_18_an_unknown_reader_is_listed_with_how_often_and_when(site):
    assert listed(site) == []
    ask(site, "GATE-9", 3)
    first = START * 60 + 38
    # Written at once, then once a minute.
    assert listed(site) == [("GATE-9", 1, first)]
    site.clock.minute += 1
    assert site.client.get(TIMES, headers=headers("GATE-9")).status_code == 403
    ask(site, "GATE-8")
    assert listed(site) == [("GATE-8", 1, first + 60), ("GATE-9", 4, first + 60)]


def test_18_the_command_line_lists_it_with_a_hint(site):
    run = runner(site.where)
    assert run("reader", "list").stderr == ""
    ask(site, "GATE-9", 2)
    ask(site, "x" * 40)
    told = run("reader", "list")
    assert "GATE-9" not in told.stdout
    assert (
        "unknown reader GATE-9 has asked (requests: 1, the last at 2026-11-21 18:59 UTC); if it "
        "is yours, add it: kalitka hub reader add GATE-9" in told.stderr
    )
    assert "unknown reader xxxxxxxx... has asked" in told.stderr
    assert "kalitka hub reader add CODE" in told.stderr
    told = run("reader", "list", "--json")
    assert [one["code"] for one in json.loads(told.stdout)] == ["GATE-1", "GATE-2"]
    assert "GATE-9" in told.stderr


def test_18_rest_lists_it_for_viewers(site):
    ask(site, "GATE-9", 2)
    sent = program(site.database, "screen", "viewer")
    answer = site.client.get(f"{API}/unknown-readers", headers=sent)
    assert answer.status_code == 200
    assert answer.json() == {
        "items": [{"code": "GATE-9", "requests": 1, "last": START * 60 + 38}],
        "next": None,
    }
    assert site.client.get(f"{API}/unknown-readers").status_code == 401


@pytest.mark.parametrize("code", ["GATE-9", "y" * 50])
def test_18_adding_the_reader_takes_it_off_the_list(site, code):
    ask(site, code)
    assert len(listed(site)) == 1
    with write_transaction(site.database) as session:
        add_or_update_reader(session, code)
    assert listed(site) == []
    site.ask("0", code)
    assert listed(site) == []


def test_18_the_list_never_has_a_secret_a_reader_or_what_is_not_a_code(site):
    with write_transaction(site.database) as session:
        set_reader_secret(session, "GATE-2", "own-secret")
    ask(site, SECRET)
    ask(site, "own-secret")
    ask(site, "GATE-1", token="wrong")  # known
    ask(site, "a reader")
    ask(site, "z" * 65)
    # A secret of another hub has the form of a code, and is as long as secrets are.
    ask(site, "Zq3" + "s" * 40)
    assert [code for code, *_ in listed(site)] == ["Zq3sssss..."]


def test_18_of_many_names_the_last_are_listed(site):
    for minute in range(3):
        site.clock.minute += 1
        for number in range(15):
            ask(site, f"NAME-{minute}-{number}")
    found = listed(site)
    assert len(found) == NAMES_MAX
    assert [code for code, *_ in found].count("NAME-0-0") == 0
    assert sum(code.startswith("NAME-2-") for code, *_ in found) == 15


def test_18_a_flood_of_names_writes_and_holds_little(site, monkeypatch):
    written = []
    recorder = UnknownReaderRecorder(site.database)
    monkeypatch.setattr(unknown_readers, "_add", lambda _database, *what: written.append(what))
    for _ in range(2):
        for number in range(5000):
            if recorder.claim_write(f"NAME-{number}"):
                recorder.write(f"NAME-{number}")
        assert len(recorder._pending) <= NAMES_MAX
    assert len(written) == 100
    site.clock.minute += 1
    assert recorder.claim_write("GATE-9")


def test_18_a_database_that_is_busy_costs_the_count_and_no_answer(site, monkeypatch):
    def fail(*_):
        raise OperationalError("", None, Exception("locked"))

    with monkeypatch.context() as broken:
        broken.setattr(unknown_readers, "_add", fail)
        ask(site, "GATE-9", 2)
    assert listed(site) == []
    site.clock.minute += 1
    ask(site, "GATE-9")
    assert listed(site) == [("GATE-9", 2, (START + 1) * 60 + 38)]
