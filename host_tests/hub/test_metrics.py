"""Monitoring of a hub: /healthz and /metrics."""

import asyncio
import threading
from contextlib import contextmanager, suppress

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from hub.hub_site import ON_SQLITE, SECRET, SYNC, Site, headers
from kalitka_hub.accounts import api_tokens, users
from kalitka_hub.server import health
from kalitka_hub.server.app import create_app
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_sim.timeouts import HANG_TIMEOUT_S

LOGS = "/api/v1/token-reader/access-logs"
COUNTED = ("kalitka_polls", "kalitka_log", "kalitka_answers", "kalitka_reader_alarms")
LOCAL, REMOTE = ("127.0.0.1", 50000), ("192.0.2.7", 50000)


@pytest.fixture
def site(database, clock):
    """A hub with a client on its own computer."""
    with TestClient(create_app(database), client=LOCAL) as client:
        yield Site(database, clock, client)


@contextmanager
def asked_from(database, client, **options):
    with TestClient(create_app(database, **options), client=client) as asking:
        yield asking


def figures(client, **more):
    answer = client.get("/metrics", headers=more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = sample.labels.values()
            found[(sample.name, *labels) if labels else sample.name] = sample.value
    return found


def changed(site, act):
    before = figures(site.client)
    act()
    after = figures(site.client)
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0) and _family(name).startswith(COUNTED)
    }


def _family(name):
    return name if isinstance(name, str) else name[0]


def polls(kind):
    return {("kalitka_polls_total", kind): 1.0}


def test_polls_are_counted_by_what_they_were_answered(site):
    site.set("A", "9_1")
    minute = int(site.ask("0").partition("%")[0])
    assert changed(site, lambda: site.ask("0")) == polls("full")
    assert changed(site, lambda: site.ask("000%")) == polls("full")
    assert changed(site, lambda: site.ask(str(minute))) == polls("incremental")
    assert changed(site, lambda: site.ask(f"{minute}%")) == polls("incremental")
    assert changed(site, lambda: site.ask("%A,B")) == polls("codes")
    assert changed(site, lambda: site.ask("0%A")) == polls("codes")
    assert changed(site, lambda: site.ask(str(minute + 9))) == polls("reset")
    site.clock.minute += 1
    site.ask("0")
    assert changed(site, lambda: site.ask(str(minute + 1))) == polls("none")


def test_requests_are_counted_and_timed_by_path_and_status(site):
    wrong = headers() | {"X-AuthToken": "wrong"}
    before = figures(site.client)
    site.ask("0")
    site.client.post(SYNC, content="nonsense", headers=headers())
    site.client.post(SYNC, content="0", headers=wrong)
    site.client.get("/nothing/there")
    site.client.get("/api/v1/hub/nothing")
    after = figures(site.client)
    for path, status in (
        ("sync", "200"),
        ("sync", "400"),
        ("sync", "403"),
        ("other", "404"),
        ("api", "404"),
    ):
        name = ("kalitka_requests_total", path, status)
        assert after[name] - before.get(name, 0) == 1
    timed = ("kalitka_request_seconds_count", "sync")
    assert after[timed] - before.get(timed, 0) == 3
    assert after["kalitka_request_seconds_bucket", "+Inf", "sync"] == after[timed]


def test_entries_of_logs_are_counted_as_stored_or_doubled(site):
    def send(body):
        return site.client.post(LOGS, content=body, headers=headers())

    stored = "kalitka_log_entries_total", "stored"
    doubled = "kalitka_log_entries_total", "doubled"
    assert changed(site, lambda: send("1_A_1,2_A_1,3_A_0")) == {stored: 3}
    assert changed(site, lambda: send("3_A_0,4_A_0")) == {stored: 1, doubled: 1}
    assert changed(site, lambda: send("nonsense")) == {}


def test_what_readers_report_of_themselves_is_counted(site):
    body = "5_reader_1_1_4_19x10,6_reader_0_1_4_20x14,7_reader_1_0_4_21"
    log = headers() | {"X-Kalitka-Log": "0badcafe"}
    for _ in range(2):  # sent again, it is not counted again
        site.client.post(LOGS, content=body, headers=log)
    found = {name: value for name, value in figures(site.client).items() if "alarms" in str(name)}
    assert {name[1]: value for name, value in found.items()} == {
        "codes are being guessed": 1,
        "restarted by its watchdog": 1,
        "safe mode": 0,
        "its time is provisional": 0,
    }


def test_what_the_database_knows_is_looked_up(site):
    site.set("A", "9_1")
    site.set("B", "9_1")
    site.remove("B")
    minute = int(site.ask("0").partition("%")[0])
    site.clock.minute += 1
    site.ask("0")  # writes the `last_seen` of the earlier polls
    found = figures(site.client)
    assert found["kalitka_log_entries_lost"] == 0
    assert found["kalitka_readers"] == 2
    assert found["kalitka_readers_connected"] == 1
    assert found["kalitka_tokens"] == 1
    assert found["kalitka_acknowledged_minute"] == minute + 1
    assert found["kalitka_database_up"] == 1
    assert found["kalitka_database_connections"] == 0
    assert found["kalitka_answers_streaming"] == 0
    site.clock.minute += 16
    assert figures(site.client)["kalitka_readers_connected"] == 0
    said = {"X-Kalitka-Lost": "12"}
    site.client.post(LOGS, content="5_A_1", headers=headers() | said)
    site.ask("0")
    assert figures(site.client)["kalitka_log_entries_lost"] == 12
    build = [name for name in found if name[0] == "kalitka_build_info"]
    assert [found[name] for name in build] == [1]
    assert site.database._engine.dialect.name in build[0]


def figure(app, name):
    lines = app.state.metrics.render().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@ON_SQLITE
@pytest.mark.parametrize(("gone", "cut"), [(False, 0), (True, 1)])
def test_a_long_answer_counts_while_it_is_under_way_and_if_it_is_cut(site, gone, cut):
    with write_transaction(site.database) as session:
        set_tokens(session, (TokenSetting(f"{i:08}", ("9_1",)) for i in range(2000)))
    app = site.client.app
    scope = {"type": "http", "method": "POST", "path": SYNC, "query_string": b""}
    scope["headers"] = [(k.lower().encode(), v.encode()) for k, v in headers().items()]
    bodies = [b"0"]
    streaming = []

    async def receive():
        if not bodies:
            await asyncio.Event().wait()  # the reader stays connected
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message):
        if message.get("more_body"):
            streaming.append(figure(app, "kalitka_answers_streaming"))
            if gone:
                raise OSError

    with suppress(OSError):
        asyncio.run(app(scope, receive, send))
    assert set(streaming) == {1}
    assert figure(app, "kalitka_answers_streaming") == 0
    assert figure(app, "kalitka_answers_cut_total") == cut


@ON_SQLITE
def test_login_failures_are_counted(site):
    def log_in():
        site.client.post("/api/v1/hub/login", json={"name": "ann", "password": "x" * 12})

    failures = "kalitka_login_failures_total"
    assert changed(site, log_in)[failures] == 1


@ON_SQLITE
def test_figures_name_no_reader_and_no_code(site):
    site.set("CAFE", "9_1")
    site.ask("0")
    site.ask("%CAFE")
    found = site.client.get("/metrics").text
    for text_ in ("CAFE", "GATE", SECRET):
        assert text_ not in found


# Access to /metrics


@ON_SQLITE
def test_another_computer_needs_an_api_token(database, clock):
    with write_transaction(database) as session:
        password = "correct horse battery"
        users.add_user(session, users.NewUser(name="ann", role="viewer", password=password))
        _, token = api_tokens.add_token(session, "ann", "prometheus")
    with asked_from(database, REMOTE) as client:
        answer = client.get("/metrics")
        assert answer.status_code == 401
        assert "API token" in answer.text
        assert answer.text.count("\n") == 1
        wrong = {"Authorization": "Bearer kal_wrong"}
        assert client.get("/metrics", headers=wrong).status_code == 401
        assert figures(client, Authorization=f"Bearer {token}")
        assert client.get("/healthz").status_code == 200


@ON_SQLITE
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_what_a_proxy_of_this_computer_passes_on_is_not_from_here(site, header):
    assert site.client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 401


@ON_SQLITE
def test_they_are_for_all_where_the_operator_says_so(database):
    with asked_from(database, REMOTE, metrics_for_all=True) as client:
        assert figures(client)


# Health


def test_a_hub_whose_database_answers_is_healthy(site):
    answer = site.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok")


def line_of(answer):
    assert answer.text.count("\n") == 1
    assert answer.text.endswith("\n")
    assert int(answer.headers["retry-after"]) > 0
    return answer.text


def test_a_database_of_another_schema_is_told(site):
    with site.database.write_session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    answer = site.client.get("/healthz")
    assert answer.status_code == 503
    assert "schema" in line_of(answer)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_database_that_is_gone_is_told_and_figures_go_on(site, postgresql):
    with broken(site.database):
        answer = site.client.get("/healthz")
        assert answer.status_code == 503
        assert "reached" in line_of(answer)
        found = figures(site.client)
        assert found["kalitka_database_up"] == 0
        assert "kalitka_readers" not in found
    assert site.client.get("/healthz").status_code == 200
    assert figures(site.client)["kalitka_database_up"] == 1


@contextmanager
def broken(database):
    """Make every connection to the database fail."""
    engine = database._engine
    connect = engine.pool._creator
    engine.dispose()

    def refuse(*_):
        return engine.dialect.connect("host=127.0.0.1 port=1 connect_timeout=2")

    engine.pool._creator = refuse
    yield
    engine.pool._creator = connect


@ON_SQLITE
def test_a_database_that_does_not_answer_is_told_in_time(site, monkeypatch):
    monkeypatch.setattr(health, "SECONDS", 0.05)
    answered = threading.Event()
    monkeypatch.setattr(health, "problem", lambda _database: answered.wait(HANG_TIMEOUT_S))
    answer = site.client.get("/healthz")
    answered.set()
    assert answer.status_code == 503
    assert "did not answer" in line_of(answer)
