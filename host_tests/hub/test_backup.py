"""Backup while the hub runs, and restore, also to the other kind of database."""

import gzip
import json
import random
import resource
import tracemalloc
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from hub.hub_site import ON_SQLITE, SECRET, START, Site, list_tokens
from hub_command import invoke
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api import access_log
from kalitka_hub.server.app import create_app
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.store import backup, migrations, models
from kalitka_hub.store import kormitel_models as kormitel
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database

PASSING = ("login_sessions", "login_attempts", "unknown_readers")  # not in a backup
TABLES = models.Base.metadata.sorted_tables
# One row for each table that the tests do not fill through the hub.
ROWS = {
    models.Person: {"id": 7, "name": "Zoë \u2028 <b>O'Neill</b>", "note": None, "created": 1},
    models.PersonGroup: {"id": 3, "name": "Kitchen", "note": "\n"},
    models.PersonGroupMember: {"group_id": 3, "person_id": 7},
    models.Schedule: {"id": 5, "name": "Day shift"},
    models.ScheduleWindow: {"id": 1, "schedule_id": 5, "start": 480, "end": 1200, "mask": None},
    models.Holiday: {"id": 2, "date": "2026-12-31", "name": None, "schedule_id": None},
    models.HolidayWindow: {"id": 9, "holiday_id": 2, "start": 0, "end": 1439},
    models.Grant: {"id": 4, "person_group_id": 3, "reader_group_id": 1, "schedule_id": 5},
    models.User: {"id": 6, "name": "ann", "role": "admin", "disabled": True, "created": 2**33},
    models.ApiToken: {"id": 8, "user_id": 6, "name": "page", "sha256": "0" * 64, "created": 1},
    models.LoginSession: {"sha256": "1" * 64, "user_id": 6, "created": 1, "expires": 2**33},
    models.LoginAttempt: {"key": "name 123", "failures": 3, "until": 2**33},
    models.UnknownReader: {"code": "GATE-7", "requests": 2, "last": 5},
    models.AccessBatch: {"reader": "GATE-1", "sha256": "2" * 64, "at": 5},
    models.Token: {"id": 900, "key": b"\x05\x00Z", "code": "Z", "changed": 1, "deleted": True},
    kormitel.KormitelKitchen: {"kitchen": "*", "group_id": 1},
    kormitel.KormitelObject: {
        **{"id": 3, "kind": "badges", "key": "7", "fields": {"a": [None]}, "writes": []},
        **{"created": 2**52, "lives": [[1, 2]], "changed": 2**52, "by": "ann", "held": None},
    },
    kormitel.KormitelSentDirection: {"direction": "a", "engagement": "b"},
    kormitel.KormitelOwed: {
        **{"user": "k", "kind": "badges", "key": "7", "sure": True, "followed": None},
    },
    kormitel.KormitelToken: {"token_id": 900, "badge_id": 3, "made": True},
    kormitel.KormitelRule: {"token_id": 900, "group_id": 1, "text": "9_1"},
    kormitel.KormitelQuarantined: {
        **{"id": 2, "at": 5, "by": "k", "kind": "badges", "item": ["flat", None], "reason": "r"},
        **{"sha256": "3" * 64, "state": "open"},
    },
    kormitel.KormitelExchange: {"id": 4, "at": 5, "user": "k", "way": "sync", "counts": {}},
    kormitel.KormitelPeer: {"url": "http://a/", "from_date": None, "sent": 0, "sent_id": 0},
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "site.kalitka"


@pytest.fixture
def elsewhere(dialect, tmp_path, request, clock):
    """Open a new database of the other kind."""
    if dialect == "postgresql":
        opened = open_database(tmp_path / "elsewhere.sqlite", clock)
        yield opened
        opened.close()
        return
    with request.getfixturevalue("postgresql").database() as url:
        opened = open_database(url, clock)
        yield opened
        opened.close()


@contextmanager
def served(database, clock):
    with TestClient(create_app(database)) as client:
        yield Site(database, clock, client)


def fill(database):
    """Insert ROWS."""
    with write_transaction(database) as session:
        for model, row in ROWS.items():
            session.execute(insert(model), [row])


def rows_of(database, *but):
    with database.snapshot() as session:
        return {
            table.name: sorted(map(tuple, session.execute(select(table))), key=repr)
            for table in TABLES
            if table.name not in but
        }


def truth(database):
    with database.snapshot() as session:
        return {token.code: set(token.rules) for token in list_tokens(session)}


def log(database, *texts):
    for text in texts:
        sent = access_log.ReceivedBatch("GATE-1", access_log.parse(text.encode()))
        access_log.store_batches(database, [sent])


def test_everything_comes_back_on_the_other_kind_of_database(site, elsewhere, file):
    fill(site.database)
    site.set("A\u00e9", "9_1", "3_480_1200_1111100", readers=("GATE-1",))
    site.set("B", "9_0")
    site.remove("B")
    site.ask("0")
    log(site.database, "1_A_1", "0_\\xff\u00e9_0")
    before = rows_of(site.database, *PASSING)
    assert all(before.values())
    made = backup.create(site.database, file)
    restored = backup.restore(elsewhere, file)
    assert restored == made
    assert made.rows == sum(map(len, before.values()))
    after = rows_of(elsewhere)
    assert [after.pop(name) for name in PASSING] == [[], [], []]
    # New are only the audit record of the restore and the range of unanswered minutes.
    (restore,) = (row for row in after["audit"] if row[3] == "restore")
    after["audit"].remove(restore)
    assert restore[4:6] == ("database", file.name)
    # Nor are the readers as they were: what they hold is unknown.
    for name in ("site", "silences"):
        before.pop(name)
        after.pop(name)
    at = list(models.Reader.__table__.columns.keys()).index("held_minute")
    assert {row[at] for row in after["readers"]} == {0}
    before["readers"] = [(*row[:at], 0, *row[at + 1 :]) for row in before["readers"]]
    assert after == before
    with served(elsewhere, site.clock) as moved:
        assert (
            moved.ask("0").partition("%")[2]
            == "B,Z,A\u00e9%\nA\u00e9_/3_480_1200_1111100\nA\u00e9_/9_1"
        )


def test_a_restored_database_goes_on_counting(site, elsewhere, file):
    fill(site.database)
    log(site.database, "1_A_1", "2_A_1")
    backup.create(site.database, file)
    backup.restore(elsewhere, file)
    log(elsewhere, "3_A_1")
    with write_transaction(elsewhere) as session:
        add_or_update_reader(session, "GATE-3")
        for model in (models.Person, models.PersonGroup, models.Schedule, models.User):
            row = {key: value for key, value in ROWS[model].items() if key != "id"}
            session.execute(insert(model), [row | {"name": "new"}])
    after = rows_of(elsewhere)
    assert [row[0] for row in after["access_entries"]] == [1, 2, 3]
    assert [row[0] for row in after["people"]] == [7, 8]
    assert {row[0] for row in after["audit"]} == set(range(1, len(after["audit"]) + 1))


def test_a_backup_is_one_state_and_nobody_waits_for_it(site, elsewhere, file, monkeypatch):
    monkeypatch.setattr(backup, "_ROWS", 10)
    log(site.database, *(f"{second}_A_1" for second in range(1, 40)))
    before = rows_of(site.database, *PASSING)

    def change(done, _rows):
        site.set(f"NEW-{done}", "9_1")
        log(site.database, f"{1000 + done}_NEW_1")
        site.clock.minute += 1
        site.ask("0")

    backup.create(site.database, file, change)
    assert len(truth(site.database)) > 5
    backup.restore(elsewhere, file)
    assert truth(elsewhere) == {}
    assert rows_of(elsewhere)["access_entries"] == before["access_entries"]


@ON_SQLITE
def test_the_same_database_makes_the_same_file(site, file):
    backup.create(site.database, file)
    first = file.read_bytes()
    backup.create(site.database, file)
    assert file.read_bytes() == first


# Answers to readers after the backup


def test_a_change_told_in_the_minute_of_the_backup_is_taken_back(site, elsewhere, file):
    site.set("KEPT", "9_1")
    reader, lucky = site.reader(), site.reader("GATE-2")
    lucky.poll()
    backup.create(site.database, file)
    site.set("LOST", "9_1")
    reader.poll()
    assert reader.table.keys() == {"KEPT", "LOST"}
    backup.restore(elsewhere, file)
    with served(elsewhere, site.clock) as restored:
        for one, code in ((reader, "GATE-1"), (lucky, "GATE-2")):
            one._poll = restored.reader(code)._poll
            one.poll()
            assert one.table == {"KEPT": {"9_1"}}


def test_a_reader_with_a_minute_that_was_acknowledged_again_since_does_a_full_sync(
    site, elsewhere, file
):
    reader = site.reader()
    reader.poll()
    backup.create(site.database, file)
    site.clock.minute += 5
    site.set("LOST", "9_1")
    reader.poll()
    # In the same minute, and the other reader asks first.
    backup.restore(elsewhere, file)
    with served(elsewhere, site.clock) as restored:
        restored.reader("GATE-2").poll()
        site.clock.minute += 1
        restored.reader("GATE-2").poll()
        assert restored.ask(str(reader.minute)).startswith("0%")
        reader._poll = restored.reader()._poll
        reader.poll()
        assert reader.table == {}
        # From then on the reader gets only changes.
        restored.set("NEW", "9_1")
        answer = restored.ask(str(reader.minute))
        assert answer.partition("%")[2] == "NEW%\nNEW_/9_1"


def test_a_reader_that_was_away_since_before_the_backup_is_told_what_changed(
    site, elsewhere, file
):
    reader = site.reader()
    reader.poll()
    site.clock.minute += 5
    site.set("A", "9_1")
    site.ask("0", "GATE-2")
    backup.create(site.database, file)
    site.clock.minute += 5
    backup.restore(elsewhere, file)
    with served(elsewhere, site.clock) as restored:
        minute, _, rest = restored.ask(str(reader.minute)).partition("%")
        assert int(minute) > START
        assert rest == "A%\nA_/9_1"


def test_a_clock_that_is_behind_the_database_makes_no_difference(site, file):
    site.clock.minute += 500  # the clock had once been ahead
    reader = site.reader()
    reader.poll()
    backup.create(site.database, file)
    site.clock.minute += 50
    site.set("LOST", "9_1")
    reader.poll()
    site.clock.minute -= 540
    backup.restore(site.database, file, replace=True)
    reader.poll()
    assert reader.table == {}
    site.set("A", "9_1")
    reader.poll()
    assert reader.table == {"A": {"9_1"}}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happened_between_backup_and_restore_no_reader_believes_it(site, file, seed):
    chance = random.Random(seed)
    readers = [site.reader("GATE-1"), site.reader("GATE-2"), site.reader("GATE-1")]

    def live(steps):
        for _ in range(steps):
            step = chance.randrange(4)
            code = chance.choice("ABCDEF")
            if step == 0:
                site.clock.minute += chance.choice((0, 1, 1, 2, -1))
            elif step == 1 and code in truth(site.database):
                site.remove(code)
            elif step == 2:
                site.set(code, f"1_{chance.randrange(9)}_9")
            else:
                chance.choice(readers).poll()

    live(20)
    backup.create(site.database, file)
    for _ in range(2):
        live(chance.randrange(20))
        backup.restore(site.database, file, replace=True)
    live(chance.randrange(10))
    for reader in readers:
        reader.poll()
        assert reader.table == truth(site.database)


# Invalid files


def refused(database, file, text):
    before = rows_of(database)
    with pytest.raises(InvalidRequest, match=text):
        backup.restore(database, file, replace=True)
    assert rows_of(database) == before


@ON_SQLITE
def test_a_file_that_was_cut_or_has_a_wrong_byte_changes_nothing(site, file):
    site.set("A", "9_1")
    backup.create(site.database, file)
    whole = file.read_bytes()
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(site.database, file, "damaged")
    for at in range(12, len(whole), 41):
        file.write_bytes(whole[:at] + bytes((whole[at] ^ 4,)) + whole[at + 1 :])
        refused(site.database, file, "damaged|not a backup")
    file.write_bytes(whole)
    backup.restore(site.database, file, replace=True)


@ON_SQLITE
def test_a_line_that_is_missing_or_changed_is_seen_though_gzip_is_right(site, file):
    backup.create(site.database, file)
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    assert len(lines) > 5
    for wrong in (
        lines[:-1],
        lines[:-2] + lines[-1:],
        [*lines, lines[1]],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines[:-1], b"not json\n"],
    ):
        file.write_bytes(gzip.compress(b"".join(wrong)))
        refused(site.database, file, "damaged")


@ON_SQLITE
def test_a_backup_of_another_version_is_told_by_its_version(site, file):
    backup.create(site.database, file)
    header, _, rest = gzip.decompress(file.read_bytes()).partition(b"\n")
    newer = json.dumps(json.loads(header) | {"schema": "0999"}).encode()
    file.write_bytes(gzip.compress(newer + b"\n" + rest))
    refused(site.database, file, "0999")


@ON_SQLITE
@pytest.mark.parametrize("text", ["", "notes\n", "{}\n", "[1]\n"])
def test_another_file_is_neither_restored_nor_replaced(site, file, text):
    for content in (text.encode(), gzip.compress(text.encode())):
        file.write_bytes(content)
        refused(site.database, file, "backup")
        with pytest.raises(InvalidRequest, match="backup"):
            backup.create(site.database, file)
        assert file.read_bytes() == content


def test_a_fault_in_the_middle_of_a_restore_leaves_the_database_as_it_was(site, file):
    site.set("A", "9_1")
    backup.create(site.database, file)
    site.set("B", "9_1")
    before = rows_of(site.database)

    def fail(done, rows):
        if done == rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.restore(site.database, file, replace=True, progress=fail)
    assert rows_of(site.database) == before


def test_only_an_empty_database_is_filled_without_asking(site, elsewhere, file):
    backup.create(site.database, file)
    with pytest.raises(InvalidRequest, match="--replace"):
        backup.restore(site.database, file)
    with served(elsewhere, site.clock):
        pass  # a database on which a server has run still counts as empty
    backup.restore(elsewhere, file)


# The file


@ON_SQLITE
def test_a_backup_is_its_owners_alone_and_has_no_secret(site, file):
    backup.create(site.database, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in gzip.decompress(file.read_bytes())


@ON_SQLITE
def test_a_full_disk_leaves_the_older_backup_and_nothing_beside_it(site, file):
    backup.create(site.database, file)
    older = file.read_bytes()
    with write_transaction(site.database) as session:
        chance = random.Random(1)
        notes = [{"name": chance.randbytes(99).hex(), "created": 1} for _ in range(2000)]
        session.execute(insert(models.Person), notes)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(InvalidRequest, match=r"cannot write .*: File too large"):
            backup.create(site.database, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == older
    assert [path for path in file.parent.iterdir() if path.name.startswith(".")] == []


@ON_SQLITE
def test_a_long_log_is_never_in_memory(site, file):
    row = {"reader": "GATE-1", "timed": True, "code": "A", "state": 1, "received": 1}
    with site.database.write_session() as session:
        session.connection().execute(
            insert(models.AccessEntry.__table__), [row | {"at": at} for at in range(12_000)]
        )
    tracemalloc.start()
    backup.create(site.database, file)
    backup.restore(site.database, file, replace=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert len(rows_of(site.database)["access_entries"]) == 12_000


# The commands


def run(*words, status=0, input=None):
    result = invoke(*words, input=input)
    assert result.exit_code == status, result.output
    return result


def test_the_commands_move_a_site(site, nowhere, file):
    site.set("A", "9_1")
    assert "rows" in run("backup", str(file), "--db", site.where).stdout
    assert "UTC" in run("restore", str(file), "--db", nowhere).stdout
    assert "A" in run("token", "list", "--db", nowhere).stdout
    assert "--replace" in run("restore", str(file), "--db", nowhere, status=2).stderr
    words = "restore", str(file), "--db", nowhere, "--replace"
    assert "Replace everything in" in run(*words, status=1, input="n\n").output
    run(*words, input="y\n")
    run(*words, "--yes")


@ON_SQLITE
def test_what_is_wrong_is_one_line(site, tmp_path, file):
    nowhere = str(tmp_path / "nowhere/site.kalitka")
    for words, status, named in (
        (["backup", nowhere, "--db", site.where], 2, "cannot write"),
        (["backup", str(tmp_path / "hub.sqlite"), "--db", site.where], 2, "not a backup"),
        (["backup", str(tmp_path), "--db", site.where], 2, "Is a directory"),
        (["backup", str(file), "--db", str(tmp_path / "none.sqlite")], 1, "--db"),
        (["restore", nowhere, "--db", str(tmp_path / "new.sqlite")], 2, "No such file"),
        (["migrate", "--db", str(tmp_path / "none.sqlite")], 1, "--db"),
    ):
        result = run(*words, status=status)
        assert named in result.stderr
        assert result.stderr.count("\n") == 1
    assert f"schema {migrations.NEWEST}" in run("migrate", "--db", site.where).stdout
