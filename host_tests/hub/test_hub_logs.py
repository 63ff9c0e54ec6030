"""The hub's log: one line for each event, and never a secret."""

import io
import json
import logging
import re
import sqlite3

import pytest
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, OperationalError

from hub.hub_site import ON_SQLITE, SECRET, SYNC, headers
from kalitka_hub import logs
from kalitka_hub.site import readers
from kalitka_hub.site.reader_secrets import set_reader_secret
from kalitka_hub.store import backup
from kalitka_hub.store.changes import write_transaction

LOG = logging.getLogger("kalitka_hub.test")
LOGS = "/api/v1/token-reader/access-logs"
TIMES = "/api/v2/token-reader/time"


@pytest.fixture
def configure():
    """Return a function that starts logging in a form, and returns the stream of the log."""
    handlers, level = list(logging.root.handlers), logging.root.level
    ours = logging.getLogger("kalitka_hub")

    def begin(form="json", at="debug"):
        stream = io.StringIO()
        logs.configure(form, at, stream)
        return stream

    yield begin
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    ours.setLevel(logging.NOTSET)


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def raised(act):
    try:
        act()
    except Exception:
        LOG.exception("failed")


def test_an_event_is_a_line_of_text(configure):
    stream = configure("text")
    logs.event(LOG, logging.WARNING, "reader refused", reader="GATE-1", why='a "b" c', n=3)
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning reader refused "
        r'reader=GATE-1 why="a \\"b\\" c" n=3\n',
        stream.getvalue(),
    )


def test_an_event_is_a_line_of_json(configure):
    stream = configure()
    logs.event(LOG, logging.INFO, "hub started", zone="MSK-3", n=3)
    (event,) = events(stream)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
    assert event == {"level": "info", "event": "hub started", "zone": "MSK-3", "n": 3}


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_value_begins_another_line_or_steers_a_terminal(configure, form):
    stream = configure(form)
    logs.event(LOG, logging.INFO, "a\nb", field="c\r\nd\x1b[2J\u2028e\x85")
    LOG.warning("f\n%s", "g\n")
    text = stream.getvalue()
    assert text.count("\n") == len(text.splitlines()) == 2
    assert "\x1b" not in text


def test_a_level_hides_what_is_below_it(configure):
    stream = configure("json", "info")
    LOG.debug("below")
    LOG.info("told")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    logging.getLogger("uvicorn.error").warning("odd")
    assert [event["event"] for event in events(stream)] == ["told", "odd"]
    stream = configure("json", "debug")
    logging.getLogger("sqlalchemy.engine").debug("SELECT")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_fault_says_where_it_was_and_nothing_that_was_written(configure, form):
    class Login(BaseModel):
        password: int

    def insert():
        try:
            raise sqlite3.IntegrityError("UNIQUE constraint failed: users.name\nKEY s3cret")
        except sqlite3.IntegrityError as fault:
            raise IntegrityError("INSERT INTO users", {"hash": "s3cret"}, fault) from fault

    def compute():
        raise ZeroDivisionError("of what was computed")

    stream = configure(form)
    raised(insert)
    raised(lambda: Login(password="s3cret"))
    raised(compute)
    text = stream.getvalue()
    assert text.count("\n") == 3
    assert "s3cret" not in text
    assert "IntegrityError: UNIQUE constraint failed: users.name" in text
    assert "ValidationError" in text
    assert "ZeroDivisionError: of what was computed" in text
    assert text.count("test_hub_logs.py") >= 3


def test_the_same_error_again_is_only_counted_for_a_minute(configure, monkeypatch):
    stream = configure()
    lost = sqlite3.OperationalError("disk I/O error\nKEY s3cret")

    def fails(times, name="the database failed"):
        for _ in range(times):
            logs.handled_error(LOG, name, OperationalError("SELECT", {"secret": "s3cret"}, lost))

    fails(5)
    fails(2, "the daily refresh of the rules failed")
    LOG.warning("told as often as it comes")
    LOG.warning("told as often as it comes")
    assert [event["event"] for event in events(stream)] == [
        "the database failed",
        "the daily refresh of the rules failed",
        "told as often as it comes",
        "told as often as it comes",
    ]
    monkeypatch.setattr(logs, "REPEAT_SECONDS", 0)
    stream.seek(stream.truncate(0))
    fails(2)
    first, second = events(stream)
    assert first["fault"] == "OperationalError: disk I/O error"
    assert first["untold"] == 4
    assert "untold" not in second


# The server's events


@ON_SQLITE
def test_every_request_of_a_reader_is_told_at_debug_only(site, configure):
    stream = configure()
    site.ask("0")
    site.client.get(TIMES, headers=headers("GATE-2"))
    first, second = events(stream)
    assert first.pop("ms") >= 0
    del first["time"]
    assert first == {
        "level": "debug",
        "event": "reader answered",
        "reader": "GATE-1",
        "path": "sync",
        "status": 200,
    }
    assert (second["reader"], second["path"]) == ("GATE-2", "time_with_zone")
    stream = configure("json", "info")
    site.ask("0")
    assert stream.getvalue() == ""


def test_a_refused_reader_is_told_once_a_minute_for_each_reason(site, configure):
    stream = configure()
    wrong = headers() | {"X-AuthToken": "wrong"}
    for _ in range(3):
        site.client.post(SYNC, content="0", headers=wrong)
        site.client.post(SYNC, content="nonsense", headers=headers())
        site.client.post(SYNC, content="0", headers=wrong | {"X-AuthReader": "GATE-2"})
    told = events(stream)
    assert {event["level"] for event in told} == {"warning"}
    reasons = [(event["reader"], event["status"]) for event in told]
    assert reasons == [("GATE-1", 403), ("GATE-1", 400), ("GATE-2", 403)]
    site.clock.minute += 1
    site.client.post(SYNC, content="0", headers=wrong)
    last = events(stream)[-1]
    del last["time"]
    assert last == {
        "level": "warning",
        "event": "reader refused",
        "reader": "GATE-1",
        "address": "testclient",
        "path": "sync",
        "untold": 6,
        "status": 403,
    }


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("GATE-9", {"claimed": "GATE-9", "hint": "kalitka hub reader add CODE"}),
        ("7:gate-9", {"claimed": "7:gate-9", "hint": "kalitka hub reader add CODE"}),
        ("warehouse-9", {"claimed": "warehous...", "hint": "kalitka hub reader add CODE"}),
        ("x" * 64, {"claimed": "xxxxxxxx...", "hint": "kalitka hub reader add CODE"}),
        ("x" * 65, {"hint": "kalitka hub reader add CODE"}),
        ("a reader", {"hint": "kalitka hub reader add CODE"}),
        ("a\tb", {"hint": "kalitka hub reader add CODE"}),
        (SECRET, {"hint": "the reader sends its secret in the place of its code"}),
        ("own", {"hint": "the reader sends its secret in the place of its code"}),
    ],
)
def test_18_an_unknown_reader_is_named_counted_and_has_a_hint(site, configure, code, fields):
    with write_transaction(site.database) as session:
        set_reader_secret(session, "GATE-2", "own")
    stream = configure()
    for _ in range(3):
        assert site.client.post(SYNC, content="0", headers=headers(code)).status_code == 403
    site.clock.minute += 1
    site.client.get(TIMES, headers=headers(code))
    first, second = events(stream)
    assert (first["event"], first["reader"], first["path"]) == (
        "reader refused",
        "unknown",
        "sync",
    )
    for told in (first, second):
        assert {name: told[name] for name in ("claimed", "hint") if name in told} == fields
    assert second["untold"] == 2


@ON_SQLITE
def test_a_flood_of_names_is_a_number(site, configure):
    stream = configure()
    for number in range(300):
        site.client.get(TIMES, headers=headers(f"NAME-{number}"))
    assert len(events(stream)) == 200
    site.clock.minute += 1
    site.client.get(TIMES, headers=headers("NAME-1"))
    assert events(stream)[-1]["untold"] == 100


@ON_SQLITE
def test_no_secret_and_no_code_is_in_the_log(site, configure, tmp_path):
    stream = configure("text")
    site.set("CAFE01", "9_1")
    with write_transaction(site.database) as session:
        readers.add_or_update_reader(session, "GATE-3")
    site.ask("0")
    site.ask("%CAFE01")
    for sent in (
        headers(SECRET),  # in the wrong header
        headers() | {"X-AuthToken": "an-older-secret"},
        headers("another-secret"),
        {"X-AuthToken": SECRET},
        {"X-AuthReader": SECRET},
    ):
        assert site.client.post(SYNC, content="%CAFE01", headers=sent).status_code in (401, 403)
    assert site.client.post(SYNC, content="%CAFE01,,", headers=headers()).status_code == 400
    assert site.client.post(LOGS, content="1_CAFE01_7", headers=headers()).status_code == 400
    assert site.client.post(LOGS, content="1_CAFE01_1", headers=headers()).status_code == 200
    backup.create(site.database, tmp_path / "site.kalitka")
    text = stream.getvalue()
    assert text.count("\n") > 5
    for word in (SECRET, "an-older-secret", "another-secret", "CAFE01"):
        assert word not in text
