"""A full disk, and a database locked by others: readers are told to try again, nothing
acknowledged is lost, and afterwards everything works.
"""

import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from hub.hub_site import ON_SQLITE, SYNC, Site, headers
from kalitka_hub.reader_api import access_log
from kalitka_hub.reader_api.state import LONG_LOGS_MAX
from kalitka_hub.server import app
from kalitka_hub.server.app import create_app
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store import database
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_sim.timeouts import HANG_TIMEOUT_S

LOGS = "/api/v1/token-reader/access-logs"


@pytest.fixture
def site(where, clock, monkeypatch):
    """A hub that waits for a lock for a fifth of a second instead of half a minute."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.2)
    opened = open_database(where, clock)
    with TestClient(create_app(opened)) as client:
        yield Site(opened, clock, client)
    opened.close()


def send_log(site, body):
    return site.client.post(LOGS, content=body, headers=headers())


def told_to_come_again(answer):
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.count("\n") == 1
    return answer.text.endswith("\n")


def codes_in_log(site):
    with site.database.snapshot() as session:
        return [entry.code for entry in access_log.list_entries(session, 1000)]


@contextmanager
def full_disk(size):
    """Limit every file of this process to `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_database(site):
    """Limit the database to its current number of pages."""

    def limit(connection, _record, _proxy):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def lift(connection, _record, _proxy):
        connection.execute("PRAGMA max_page_count = 1073741823")

    engine = site.database._engine
    event.listen(engine, "checkout", limit)
    yield
    event.remove(engine, "checkout", limit)
    event.listen(engine, "checkout", lift)


@ON_SQLITE
@pytest.mark.parametrize("kind", ["disk", "database"])
def test_a_full_disk_loses_nothing_that_was_acknowledged(site, kind, where):
    site.set("A", "9_1")
    reader = site.reader()
    reader.poll()
    acknowledged = []
    disk = full_disk(70_000) if kind == "disk" else full_database(site)
    refused = 0
    with disk:
        for number in range(400):
            body = ",".join(f"{number * 50 + i + 1}_{number}-{i}_1" for i in range(50))
            answer = send_log(site, body)
            if answer.status_code == 200:
                acknowledged += [f"{number}-{i}" for i in range(50)]
                continue
            assert told_to_come_again(answer)
            refused += 1
            if refused == 3:
                break
        assert refused == 3
        # Requests that only read are served as before.
        assert reader.poll() is None
        assert site.client.get("/healthz").status_code == 200
    assert set(acknowledged) <= set(codes_in_log(site))
    assert send_log(site, "999999_LATER_1").text == "ok,1"
    site.clock.minute += 1
    site.set("B", "9_1")
    reader.poll()
    assert reader.table.keys() == {"A", "B"}
    with site.database.snapshot() as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"


def test_readers_are_answered_with_the_older_minute_while_another_writes(site, where, clock):
    site.set("A", "9_1")
    reader = site.reader()
    reader.poll()
    before = reader.minute
    other = open_database(where, clock)
    with write_transaction(other) as session:
        set_tokens(session, [TokenSetting("SLOW", ("9_1",))])
        session.flush()
        for _ in range(3):
            # The minute cannot be raised: it stays, and no change is missed.
            site.clock.minute += 1
            reader.poll()
            assert reader.minute == before
            assert reader.table.keys() == {"A"}
        assert site.client.get("/healthz").status_code == 200
    other.close()
    reader.poll()
    assert reader.minute == before + 3
    assert reader.table.keys() == {"A", "SLOW"}


@ON_SQLITE
def test_a_log_that_cannot_be_stored_is_not_acknowledged_and_comes_again(site, where, clock):
    other = open_database(where, clock)
    with write_transaction(other):
        assert told_to_come_again(send_log(site, "1_A_1,0_A_0"))
    other.close()
    assert codes_in_log(site) == []
    assert send_log(site, "1_A_1,0_A_0").text == "ok,2"
    assert send_log(site, "1_A_1,0_A_0").text == "ok,0"


@ON_SQLITE
def test_all_logs_that_came_together_wait_once_for_a_busy_database(site, monkeypatch):
    busy = Mock(side_effect=OperationalError("", None, Exception("database is locked")))
    batch = access_log.parse(b"5_A_1")
    sent = [access_log.ReceivedBatch(f"GATE-{n}", batch) for n in range(access_log.BATCHES_MAX)]
    with monkeypatch.context() as patched:
        patched.setattr(database.Database, "write_session", busy)
        answers = access_log.store_batches(site.database, sent)
    assert {type(answer) for answer in answers} == {OperationalError}
    assert len(answers) == len(sent)
    assert busy.call_count == 1


@ON_SQLITE
def test_of_many_long_logs_a_few_are_in_memory_at_a_time(where, clock, monkeypatch):
    store_all, together = access_log.store_batches, []

    def store(opened, sent):
        together.append(len(sent))
        time.sleep(0.2 / len(together))  # so that the other requests can gather in a batch
        return store_all(opened, sent)

    monkeypatch.setattr(access_log, "store_batches", store)
    opened = open_database(where, clock)
    bodies = [",".join(f"{n}{i:05}_A_1" for i in range(7000)) for n in range(1, 9)]
    with TestClient(create_app(opened)) as client, ThreadPoolExecutor(len(bodies)) as pool:
        asked = [pool.submit(client.post, LOGS, content=b, headers=headers()) for b in bodies]
        assert {one.result().text for one in asked} == {"ok,7000"}
    opened.close()
    assert max(together) <= LONG_LOGS_MAX


@ON_SQLITE
def test_the_calendar_is_looked_at_again_after_any_fault(where, clock, monkeypatch, caplog):
    looked = threading.Semaphore(0)

    def failing_refresh(_database):
        looked.release()
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(app, "_CALENDAR_SECONDS", 0.01)
    monkeypatch.setattr(app, "refresh_daily", failing_refresh)
    opened = open_database(where, clock)
    with TestClient(create_app(opened)):
        for _ in range(2):
            assert looked.acquire(timeout=HANG_TIMEOUT_S)
    opened.close()
    assert "the daily refresh of the rules failed" in caplog.text


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_server_that_ends_its_connections_is_asked_again(site):
    """PostgreSQL ends its connections when it is restarted."""
    site.set("A", "9_1")
    reader = site.reader()
    reader.poll()
    for _ in range(3):
        with site.database.snapshot() as session:
            session.connection().detach()
            mine = "SELECT pg_backend_pid()"
            others = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                f"datname = current_database() AND pid <> ({mine})"
            )
            session.execute(text(others))
        statuses = []
        for _ in range(10):
            answer = site.client.post(SYNC, content=str(reader.minute), headers=headers())
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                break
            assert told_to_come_again(answer)
        assert statuses[-1] == 200


def test_a_writer_that_waits_too_long_changes_nothing_and_is_told(site, where, clock):
    other = open_database(where, clock)
    failed = []

    def write():
        try:
            site.set("B", "9_1")
        except Exception as fault:
            failed.append(type(fault).__name__)

    with write_transaction(other):
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(HANG_TIMEOUT_S)
    other.close()
    assert failed == ["OperationalError"]
    assert site.ask("0").endswith("%%\n")
    site.set("B", "9_1")
    assert site.ask("0").endswith("B_/9_1")
