"""Opening a database: migrations make its schema, and databases of other programs are refused."""

import logging
import subprocess
import sys
from unittest.mock import Mock

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, delete, inspect, select, text
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError

from hub.hub_accounts import API, error_of, program
from hub.hub_site import ON_POSTGRESQL
from kalitka_hub.accounts.users import NewUser, add_user
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api.reader_auth import ReaderRequest, authenticate
from kalitka_hub.server.app import create_app
from kalitka_hub.site.readers import add_or_update_reader, list_reader_views
from kalitka_hub.site.site_secret import sha256_of
from kalitka_hub.store import database as databases
from kalitka_hub.store import migrations
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.kormitel_models import KormitelQuarantined
from kalitka_hub.store.models import (
    EVERY_READER,
    ApiToken,
    Base,
    Grant,
    ReaderGroup,
    Site,
    User,
)


@pytest.fixture
def opened(nowhere):
    database = open_database(nowhere)
    yield database
    database.close()


def schema_of(engine):
    """Return the schema as the database itself describes it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
            # SQLite quotes the names of tables that a migration made anew.
            made = {" ".join(sql.replace('"', "").split()) for (sql,) in rows}
            # A column that was added stands behind a line end.
            made = {sql.replace(" ,", ",").replace(" )", ")") for sql in made}
            return {sql for sql in made if migrations.NUMBER_TABLE not in sql}
        columns = connection.execute(
            text(
                "SELECT table_name, column_name, data_type, character_maximum_length, "
                "is_nullable, column_default FROM information_schema.columns "
                "WHERE table_schema = 'public'"
            )
        )
        indexes = connection.execute(
            text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")
        )
        constraints = connection.execute(
            text("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint")
        )
        every = [*map(tuple, columns), *map(tuple, indexes), *map(tuple, constraints)]
        return {row for row in every if migrations.NUMBER_TABLE not in str(row)}


def test_the_migrations_make_exactly_the_models(opened):
    with opened.snapshot() as session:
        assert (
            compare_metadata(MigrationContext.configure(session.connection()), Base.metadata) == []
        )


def test_the_migrations_make_the_same_as_the_models_to_the_letter(opened):
    # Alembic's comparison ignores conditions of indexes, options of tables and more.
    migrated = schema_of(opened._engine)
    with opened._engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert migrated == schema_of(opened._engine)


def test_the_newest_step_is_the_one_that_the_hub_looks_for():
    folder = migrations.__path__[0]
    assert ScriptDirectory(folder).get_heads() == [migrations.NEWEST]


def test_a_new_database_has_the_site_and_the_group_of_all_readers(opened):
    with opened.snapshot() as session:
        assert [(site.id, site.acknowledged) for site in session.scalars(select(Site))] == [(1, 0)]
        groups = session.scalars(select(ReaderGroup)).all()
        assert [(group.id, group.name, group.kind) for group in groups] == [
            (EVERY_READER, "*", "all")
        ]


def make_older(where, schema, *statements):
    """Make a database of an older schema, with these rows."""
    engine = create_engine(databases._parse_url(where))
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, schema)
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("has_objects", [True, False])
def test_objects_of_an_older_schema_are_looked_at_again_before_they_are_sent(nowhere, has_objects):
    add = (
        "INSERT INTO kormitel_objects (id, kind, key, fields, writes, changed, by) "
        "VALUES (1, 'badges', '1', '{}', '[]', 1, 'ann')"
    )
    make_older(nowhere, "0008", *[add] * has_objects)
    database = open_database(nowhere)
    with database.snapshot() as session:
        assert session.scalars(select(Site.kormitel_recheck)).one() == has_objects
    database.close()


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ('["flat", {"data": {"id": "0A-1", "feed": "X"}}]', "0a-1"),
        ('["updated", {"id": "0a-1", "feed": "X"}]', "0a-1"),
        ('["flat", {"data": {"feed": "X"}}]', None),
        ('["deleted", "0a-1"]', None),
        ('["flat", null]', None),
    ],
)
def test_open_items_of_an_older_schema_get_the_keys_of_their_objects(nowhere, item, key):
    add = (
        "INSERT INTO kormitel_set_aside (id, at, by, kind, item, reason, sha256, state) "
        f"VALUES (1, 1, 'k', 'badges', '{item}', 'r', 'x', 'open')"
    )
    make_older(nowhere, "0010", add)
    database = open_database(nowhere)
    with database.snapshot() as session:
        assert session.scalars(select(KormitelQuarantined.key)).one() == key
    database.close()


def test_a_database_of_the_first_schema_keeps_what_is_in_it(nowhere):
    make_older(
        nowhere,
        "0001",
        "UPDATE site SET acknowledged = 77, zone = 'MSK-3'",
        "INSERT INTO users (id, name, role, disabled, created) "
        "VALUES (5, 'ann', 'admin', false, 1)",
        "INSERT INTO api_tokens (id, user_id, name, sha256, created) "
        "VALUES (6, 5, 'page', 'x', 1)",
    )
    database = open_database(nowhere)
    with database.snapshot() as session:
        site = session.scalars(select(Site)).one()
        assert (site.acknowledged, site.zone, site.kormitel_answered) == (77, "MSK-3", None)
        assert session.scalars(select(ApiToken.user_id)).one() == 5
        assert session.scalars(select(User.name)).one() == "ann"
    with write_transaction(database) as session:
        add_user(session, NewUser(name="kormitel", role="integration"))
    database.close()


def test_readers_of_an_older_schema_keep_the_secrets_that_they_use(nowhere):
    site, own = sha256_of(b"of-the-site"), sha256_of(b"its-own")
    make_older(
        nowhere,
        "0003",
        f"UPDATE site SET secret_sha256 = '{site}'",
        "INSERT INTO readers (code, configured_minute, secret_sha256) "
        f"VALUES ('GATE-1', 0, NULL), ('GATE-2', 0, '{own}')",
    )
    database = open_database(nowhere)
    asked = [
        ReaderRequest(code, secret)
        for code in ("GATE-1", "GATE-2")
        for secret in (b"of-the-site", b"its-own")
    ]
    admitted = [found is not None for found in authenticate(database, asked)]
    assert admitted == [True, False, False, True]
    with database.snapshot() as session:
        assert [view.revoked for view in list_reader_views(session)] == [None, None]
    database.close()


def test_what_is_done_to_a_new_database_is_logged_without_its_password(nowhere, caplog):
    caplog.set_level(logging.INFO, "kalitka_hub")
    open_database(nowhere.replace("postgres:@", "postgres:t0p@")).close()
    assert len(caplog.messages) == 2
    for message in caplog.messages:
        assert f"schema {migrations.NEWEST}" in message or "becomes" in message
        assert "t0p" not in message
    caplog.clear()
    open_database(nowhere).close()
    assert caplog.messages == []


def test_a_current_database_is_opened_without_alembic(where):
    program = (
        "import sys; from kalitka_hub.store.database import open_database; "
        "open_database(sys.argv[1]).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, where], check=False).returncode == 0


def execute(where, *statements):
    engine = create_engine(databases._parse_url(where))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_database_of_another_program_is_refused_and_left_alone(nowhere):
    execute(nowhere, "CREATE TABLE notes (id INTEGER)")
    with pytest.raises(InvalidRequest, match="name a new one with --db"):
        open_database(nowhere)
    engine = create_engine(databases._parse_url(nowhere))
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["notes"]
    engine.dispose()


def test_a_database_of_a_newer_hub_is_refused_and_left_alone(where):
    execute(where, f"UPDATE {migrations.NUMBER_TABLE} SET version_num = '9999'")
    with pytest.raises(InvalidRequest, match="newer hub"):
        open_database(where)
    execute(where, f"UPDATE {migrations.NUMBER_TABLE} SET version_num = '{migrations.NEWEST}'")
    open_database(where).close()


def test_a_step_that_fails_leaves_nothing_behind(nowhere, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("alembic.op.create_index", Mock(side_effect=OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            open_database(nowhere)
    engine = create_engine(databases._parse_url(nowhere))
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()
    open_database(nowhere).close()


def test_a_snapshot_cannot_write_on_postgresql_and_sees_one_moment_on_both(site, dialect):
    with site.database.snapshot() as session:
        assert len(list(list_reader_views(session))) == 2
        with write_transaction(site.database) as other:
            add_or_update_reader(other, "GATE-3")
        assert len(list(list_reader_views(session))) == 2
        if dialect == "postgresql":
            with pytest.raises(InternalError, match="read-only"):
                session.execute(delete(Grant))
    with site.database.snapshot() as session:
        assert len(list(list_reader_views(session))) == 3


def test_what_is_committed_to_sqlite_is_on_the_disk(tmp_path):
    # A reader has been told by then: FULL. (PostgreSQL's settings are its administrator's.)
    database = open_database(tmp_path / "hub.sqlite")
    with write_transaction(database) as session:
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
    database.close()


def test_what_refers_to_nothing_is_not_stored(site):
    with pytest.raises(IntegrityError), write_transaction(site.database) as session:
        session.add(Grant(person_group_id=77, reader_group_id=EVERY_READER, schedule_id=77))


def test_a_lock_that_is_not_given_is_503_with_what_to_do(where, clock, monkeypatch):
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.1)
    database = open_database(where, clock)
    operator = program(database, "office", "operator")
    with TestClient(create_app(database)) as client:

        def add():
            return client.post(f"{API}/person-groups", json={"name": "Kitchen"}, headers=operator)

        with write_transaction(database):
            refused = add()
        assert refused.status_code == 503
        assert "ask again later" in error_of(refused)
        assert add().status_code == 201
    database.close()


@ON_POSTGRESQL
def test_connections_that_are_all_taken_are_an_operational_error(where, monkeypatch):
    for name, value in (("POOL_SIZE", 1), ("POOL_OVERFLOW", 0), ("CONNECT_SECONDS", 1)):
        monkeypatch.setattr(databases, name, value)
    database = open_database(where)
    with database.snapshot() as session:
        session.execute(select(Site.id))
        with pytest.raises(OperationalError), database.snapshot() as second:
            second.execute(select(Site.id))
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:t0p@127.0.0.1:1/d",
        "postgresql://u:t0p@h:port/d",
        "postgresql://u:t/0@p@h:port/d",
        "postgresql://u@127.0.0.1:1/d?password=t0p",
        "mysql://u:t0p@h/d",
    ],
)
def test_a_password_is_in_no_message(url):
    with pytest.raises(InvalidRequest, match="--db") as refused:
        open_database(url)
    assert "t0p" not in str(refused.value)
    assert "0@p" not in str(refused.value)
