"""Readers' own secrets and their revocation, by command and by REST; nothing of them is kept."""

import json
import logging
import os
from unittest.mock import Mock

import pytest

from hub.hub_accounts import API, error_of, everything_in, program
from hub.hub_site import ON_SQLITE, SECRET, START, SYNC, headers
from hub_command import runner
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.reader_api.reader_auth import ReaderRequest, authenticate
from kalitka_hub.site.reader_secrets import revoke_reader, set_reader_secret
from kalitka_hub.site.readers import change_reader, list_reader_views, show_reader
from kalitka_hub.site.resources import RESOURCES
from kalitka_hub.site.site_view import view_of_site
from kalitka_hub.store import backup
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database

NOW = START * 60 + 38  # seconds
PATHS = (
    ("POST", SYNC, "0"),
    ("POST", SYNC, "%04A1B2C3"),
    ("POST", "/api/v1/token-reader/access-logs", "50_A_1"),
    ("GET", "/api/v2/token-reader/time", None),
    ("GET", "/api/v1/token-reader/time", None),
)


@pytest.fixture
def knows(database):
    """A function that says whether a reader is admitted with a secret."""

    def known(code, secret):
        return authenticate(database, [ReaderRequest(code, secret.encode())]) != [None]

    return known


@pytest.fixture
def operator(database):
    return program(database, "oleg", "operator")


@pytest.fixture
def admin(database):
    return program(database, "anna", "admin")


def statuses(site, code, secret):
    """Return the status and text of each path of the readers' API."""
    sent = headers(code) | {"X-AuthToken": secret}
    found = [
        site.client.request(method, path, content=body, headers=sent)
        for method, path, body in PATHS
    ]
    return {(answer.status_code, answer.text) for answer in found}


def audited(run, code):
    rows = json.loads(run("audit", "list", "--json").stdout)
    return [
        (row["action"], row["before"], row["after"])
        for row in rows
        if (row["kind"], row["object"]) == ("readers", code)
    ]


# By default each reader has its own


@ON_SQLITE
def test_an_added_reader_has_its_own_secret_which_is_shown_once(run, knows, database):
    added = run("reader", "add", "GATE-3", "--name", "Yard", "--note", "new")
    secret = added.stdout.removesuffix("\n")
    assert len(secret) >= 40 and secret.isprintable()  # nothing else: $(...) gets the secret
    assert "only this once" in added.stderr
    assert (knows("GATE-3", secret), knows("GATE-3", SECRET)) == (True, False)
    assert not knows("GATE-1", secret)
    told = run("reader", "list", "--json").stdout + run("reader", "show", "GATE-3").stdout
    told += run("reader", "list").stdout + run("audit", "list", "--json").stdout + added.stderr
    told += run("export", "readers").stdout + everything_in(database)
    assert secret not in told
    assert audited(run, "GATE-3")[0][2] == {
        "name": "Yard",
        "note": "new",
        "groups": [],
        "own_secret": True,
    }


@ON_SQLITE
def test_each_added_reader_has_another_secret(run):
    secrets = {run("reader", "add", f"GATE-{n}").stdout for n in range(3, 7)}
    assert len(secrets) == 4


@ON_SQLITE
def test_adding_a_reader_again_leaves_its_secret(run, knows):
    secret = run("reader", "add", "GATE-3").stdout.strip()
    again = run("reader", "add", "GATE-3", "--name", "Yard")
    assert again.stdout == ""
    assert "already registered" in again.stderr
    assert "unchanged" in run("reader", "add", "GATE-3", "--site-secret").stderr
    assert (knows("GATE-3", secret), knows("GATE-3", SECRET)) == (True, False)


@ON_SQLITE
def test_a_reader_to_be_migrated_uses_the_sites_secret_until_it_has_its_own(run, knows):
    added = run("reader", "add", "GATE-3", "--site-secret")
    assert added.stdout == ""
    assert "the site's secret" in added.stderr
    assert knows("GATE-3", SECRET)
    secret = run("reader", "secret", "GATE-3").stdout.strip()
    assert (knows("GATE-3", secret), knows("GATE-3", SECRET)) == (True, False)


@ON_SQLITE
def test_a_site_without_a_secret_serves_readers_with_their_own(nowhere):
    run = runner(nowhere)
    secret = run("reader", "add", "GATE-1").stdout.strip()
    run("reader", "add", "GATE-2", "--site-secret")
    made = open_database(nowhere)
    asked = [ReaderRequest("GATE-1", secret.encode()), ReaderRequest("GATE-2", b"None")]
    assert [found is not None for found in authenticate(made, asked)] == [True, False]
    made.close()


@ON_SQLITE
def test_the_sites_secret_is_not_taken_for_a_readers_own(run):
    refused = run("reader", "secret", "GATE-1", "--stdin", typed=f"{SECRET}\n", status=2)
    assert "the site's secret" in refused.stderr
    assert SECRET not in refused.stderr


# Revocation


def test_a_revoked_reader_is_refused_with_every_secret_and_told_no_more_than_others(site):
    with write_transaction(site.database, "anna") as session:
        set_reader_secret(session, "GATE-1", "its-own")
    assert {status for status, _ in statuses(site, "GATE-1", "its-own")} == {200}
    with write_transaction(site.database, "anna") as session:
        assert revoke_reader(session, "GATE-1")
        assert not revoke_reader(session, "GATE-1")
    unknown = statuses(site, "GATE-9", "its-own")
    assert {status for status, _ in unknown} == {403}
    for secret in ("its-own", SECRET, "wrong"):
        assert statuses(site, "GATE-1", secret) == unknown
    # Nor may it name another reader.
    assert statuses(site, "GATE-2", "its-own") == unknown
    assert {status for status, _ in statuses(site, "GATE-2", SECRET)} == {200}


def test_a_reader_with_the_sites_secret_is_revoked_too(site):
    with write_transaction(site.database) as session:
        revoke_reader(session, "GATE-1")
    assert {status for status, _ in statuses(site, "GATE-1", SECRET)} == {403}
    with write_transaction(site.database) as session:
        set_reader_secret(session, "GATE-2", "of-the-other")
    # It knows the site's secret, but the other reader has its own.
    assert {status for status, _ in statuses(site, "GATE-2", SECRET)} == {403}


def test_a_new_secret_admits_a_revoked_reader_again(site):
    with write_transaction(site.database) as session:
        set_reader_secret(session, "GATE-1", "its-own")
        revoke_reader(session, "GATE-1")
        for known in (None, "its-own", SECRET):
            with pytest.raises(InvalidRequest):
                set_reader_secret(session, "GATE-1", known)
        assert show_reader(session, "GATE-1").revoked == NOW
        set_reader_secret(session, "GATE-1", "a-new-one")
        assert show_reader(session, "GATE-1").revoked is None
    assert {status for status, _ in statuses(site, "GATE-1", "a-new-one")} == {200}
    for secret in ("its-own", SECRET):
        assert {status for status, _ in statuses(site, "GATE-1", secret)} == {403}


def test_a_revoked_reader_stays_revoked_when_it_is_changed(database):
    with write_transaction(database) as session:
        revoke_reader(session, "GATE-1")
        setting = RESOURCES["readers"].setting(code="GATE-1", name="West")
        change_reader(session, "GATE-1", setting)
        views = list_reader_views(session)
        assert [view.revoked for view in views] == [NOW, None]
        with pytest.raises(NotFound):
            revoke_reader(session, "GATE-9")


def test_nobody_waits_for_a_revoked_reader(database):
    with write_transaction(database) as session:
        revoke_reader(session, "GATE-1")
        seen = view_of_site(session, NOW)
    assert (seen.readers, [reader.code for reader in seen.late]) == (2, ["GATE-2"])


@ON_SQLITE
def test_one_command_revokes_and_one_admits_again(run, knows):
    secret = run("reader", "secret", "GATE-1").stdout.strip()
    assert run("reader", "revoke", "GATE-1").output == "reader GATE-1 revoked\n"
    assert not (knows("GATE-1", secret) or knows("GATE-1", SECRET))
    assert knows("GATE-2", SECRET)
    assert "already revoked" in run("reader", "revoke", "GATE-1").stdout
    assert "revoked" in run("reader", "list").stdout
    assert "revoked (UTC)" in run("reader", "show", "GATE-1").stdout
    assert isinstance(json.loads(run("reader", "show", "GATE-1", "--json").stdout)["revoked"], int)
    run("reader", "secret", "GATE-1", "--site", status=2)
    run("reader", "revoke", "GATE-9", status=1)
    run("reader", "add", "GATE-1")
    assert not knows("GATE-1", SECRET)
    new = run("reader", "secret", "GATE-1").stdout.strip()
    assert (knows("GATE-1", new), knows("GATE-1", secret)) == (True, False)
    assert "revoked" not in run("reader", "list").stdout
    own, revoked = {"own_secret": True, "revoked": False}, {"own_secret": True, "revoked": True}
    assert audited(run, "GATE-1")[-2:] == [
        ("revoke", own, revoked),
        ("change", revoked, own | {"secret": "changed"}),
    ]


@ON_SQLITE
def test_the_list_says_which_secret_a_reader_has(run):
    run("reader", "secret", "GATE-2")
    run("reader", "add", "GATE-3")
    run("reader", "revoke", "GATE-3")
    rows = run("reader", "list").stdout.splitlines()
    told = [next(row for row in rows if f"GATE-{n}" in row) for n in (1, 2, 3)]
    assert "the site's" in told[0]
    assert " own " in told[1]
    assert " revoked " in told[2]


@ON_SQLITE
def test_who_revokes_a_reader_that_knows_the_sites_secret_hears_of_the_others(run):
    run("reader", "add", "GATE-3", "--site-secret")
    told = run("reader", "revoke", "GATE-1").stderr
    assert "other readers that use it: 2" in told
    assert "kalitka hub secret" in told
    for code in ("GATE-2", "GATE-3"):
        run("reader", "secret", code)
    assert run("reader", "revoke", "GATE-1").stderr == ""


# REST


def polls(site, code, secret):
    sent = headers(code) | {"X-AuthToken": secret}
    return site.client.post(SYNC, content="0", headers=sent).status_code == 200


def test_rest_shows_the_secret_of_a_new_reader_once(site, operator, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    path = f"{API}/readers"
    made = site.client.post(path, json={"code": "GATE-3", "name": "Yard"}, headers=operator)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert made.json() == {
        "code": "GATE-3",
        "name": "Yard",
        "note": None,
        "groups": [],
        "last_seen": None,
        "asked_minute": None,
        "logged": None,
        "lost": None,
        "own_secret": True,
        "revoked": None,
        "secret": secret,
    }
    assert (polls(site, "GATE-3", secret), polls(site, "GATE-3", SECRET)) == (True, False)
    changed = site.client.put(f"{path}/GATE-3", json={"code": "GATE-3"}, headers=operator)
    later = [changed, site.client.get(f"{path}/GATE-3", headers=operator)]
    later += [site.client.get(place, headers=operator) for place in (path, f"{API}/audit")]
    later.append(site.client.get(f"{API}/export/readers", headers=operator))
    for answer in later:
        assert answer.status_code == 200
        assert secret not in answer.text
        assert '"secret":' not in answer.text
    assert secret not in everything_in(site.database)
    assert secret not in caplog.text + "".join(capfd.readouterr())
    missing = site.client.put(f"{path}/GATE-9", json={"code": "GATE-9"}, headers=operator)
    assert missing.status_code == 404  # PUT creates no reader


def test_rest_adds_a_reader_to_be_migrated(site, operator):
    body = {"code": "GATE-3", "site_secret": True}
    made = site.client.post(f"{API}/readers", json=body, headers=operator)
    assert (made.json()["secret"], made.json()["own_secret"]) == (None, False)
    assert polls(site, "GATE-3", SECRET)
    kept = site.client.put(f"{API}/readers/GATE-3", json=body, headers=operator)
    assert (kept.status_code, "site_secret" in error_of(kept)) == (422, True)


def test_rest_revokes_a_reader(site, operator, admin):
    viewer = program(site.database, "vera", "viewer")
    path = f"{API}/readers/GATE-1/revoke"
    assert site.client.post(path, headers=viewer).status_code == 403
    for _ in range(2):
        revoked = site.client.post(path, headers=operator)
        assert (revoked.status_code, revoked.json()["revoked"]) == (200, NOW)
    assert not polls(site, "GATE-1", SECRET)
    listed = site.client.get(f"{API}/readers", headers=viewer).json()["items"]
    assert [reader["revoked"] for reader in listed] == [NOW, None]
    secret = f"{API}/readers/GATE-1/secret"
    back = site.client.delete(secret, headers=admin)
    assert (back.status_code, "revoked" in error_of(back)) == (422, True)
    assert site.client.put(secret, headers=operator).status_code == 403
    new = site.client.put(secret, headers=admin).json()["secret"]
    assert polls(site, "GATE-1", new)
    assert site.client.post(f"{API}/readers/GATE-9/revoke", headers=operator).status_code == 404


# CSV


def imported(site, caller, text, **params):
    path = f"{API}/import/readers"
    return site.client.post(path, content=text, params=params, headers=caller)


def test_an_import_by_rest_shows_the_secrets_of_new_readers_once(site, operator):
    text = "code,name\nGATE-1,North\nGATE-3,Yard\nGATE-4,\n"
    seen = imported(site, operator, text, preview=True).json()
    assert (seen["added"], seen["secrets"]) == (2, {})
    done = imported(site, operator, text).json()
    assert (done["added"], done["written"], [*done["secrets"]]) == (2, True, ["GATE-3", "GATE-4"])
    for code, secret in done["secrets"].items():
        assert (polls(site, code, secret), polls(site, code, SECRET)) == (True, False)
        assert secret not in everything_in(site.database)
    assert polls(site, "GATE-1", SECRET)  # not a new one
    assert imported(site, operator, text).json()["secrets"] == {}
    wrong = imported(site, operator, "code\nGATE-5\nGATE 6\n")
    assert (wrong.status_code, "secrets" in wrong.json()) == (422, False)
    migrated = imported(site, operator, "code\nGATE-5\n", site_secret=True).json()
    assert (migrated["added"], migrated["secrets"]) == (1, {})
    assert polls(site, "GATE-5", SECRET)


@ON_SQLITE
def test_an_import_writes_the_secrets_of_new_readers_to_a_file_of_its_owner(run, knows, tmp_path):
    table, secrets = tmp_path / "readers.csv", tmp_path / "secrets.csv"
    table.write_text("code,name\nGATE-1,North\nGATE-3,Yard\nGATE-4,\n")
    refused = run("import", "readers", str(table), status=2).stderr
    assert "line 3" in refused and "--secrets FILE" in refused and "--site-secret" in refused
    assert "GATE-3" not in run("reader", "list").stdout
    done = run("import", "readers", str(table), "--secrets", str(secrets))
    assert "2 added" in done.stdout
    assert str(secrets) in done.stderr
    assert secrets.stat().st_mode & 0o777 == 0o600
    header, *rows = (line.split(",") for line in secrets.read_text().splitlines())
    assert (header, [code for code, _ in rows]) == (["code", "secret"], ["GATE-3", "GATE-4"])
    for code, secret in rows:
        assert (knows(code, secret), knows(code, SECRET)) == (True, False)
        assert secret not in done.output
    # Without new readers there is nothing to write, and an existing file is left alone.
    assert "3 unchanged" in run("import", "readers", str(table)).stdout
    table.write_text("code\nGATE-5\n")
    kept = secrets.read_bytes()
    run("import", "readers", str(table), "--secrets", str(secrets), status=2)
    assert secrets.read_bytes() == kept
    assert "GATE-5" not in run("reader", "list").stdout


@ON_SQLITE
def test_an_import_of_readers_to_be_migrated_says_so(run, knows, tmp_path):
    table = tmp_path / "readers.csv"
    table.write_text("code\nGATE-3\n")
    both = ["--site-secret", "--secrets", str(tmp_path / "secrets.csv")]
    assert "exclude each other" in run("import", "readers", str(table), *both, status=2).stderr
    run("import", "readers", str(table), "--site-secret")
    assert knows("GATE-3", SECRET)


@ON_SQLITE
def test_a_failed_import_leaves_no_file_of_secrets(run, tmp_path, monkeypatch):
    table, secrets = tmp_path / "readers.csv", tmp_path / "secrets.csv"
    table.write_text("code\nGATE-3\n")
    words = ["import", "readers", str(table), "--secrets", str(secrets)]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
        assert "No space left" in run(*words, status=2).stderr
    assert not secrets.exists()
    assert "GATE-3" not in run("reader", "list").stdout
    run(*words)
    assert secrets.exists()


# Backups


def test_a_backup_has_hashes_only_and_keeps_a_revocation(site, nowhere, tmp_path, run):
    secrets = {code: run("reader", "add", code).stdout.strip() for code in ("GATE-3", "GATE-4")}
    run("reader", "revoke", "GATE-4")
    file = tmp_path / "hub.backup"
    backup.create(site.database, file)
    other = open_database(nowhere, site.clock)
    backup.restore(other, file)
    stored = everything_in(other)
    assert not any(secret in stored for secret in secrets.values())
    asked = [ReaderRequest(code, secret.encode()) for code, secret in secrets.items()]
    assert [found is not None for found in authenticate(other, asked)] == [True, False]
    with other.snapshot() as session:
        assert show_reader(session, "GATE-4").revoked is not None
    other.close()
