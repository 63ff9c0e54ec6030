"""The first schema, with the site's row and the group of all readers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WITHOUT_ROWID = {"sqlite_with_rowid": False}
_COUNTING = {"sqlite_autoincrement": True}


def upgrade() -> None:
    """Create every table. Constraints and indexes get their names from the metadata."""
    _make_site()
    _make_readers()
    _make_people_and_tokens()
    _make_schedules()
    _make_users()
    _make_access_log()


def _make_site() -> None:
    site = op.create_table(
        "site",
        sa.Column("id", sa.Integer(), primary_key=True),
        _needed("acknowledged", sa.BigInteger()),
        sa.Column("secret_sha256", sa.String(64)),
        sa.Column("zone", sa.String(100)),
        sa.Column("horizon", sa.String(10)),
    )
    op.bulk_insert(site, [{"id": 1, "acknowledged": 0}])
    op.create_table(
        "silences",
        sa.Column("after", sa.BigInteger(), primary_key=True, autoincrement=False),
        _needed("until", sa.BigInteger(), index=True),
    )


def _make_readers() -> None:
    op.create_table(
        "readers",
        _own_id(),
        _needed("code", sa.String(64), unique=True),
        sa.Column("name", sa.String(200)),
        sa.Column("note", sa.String(2000)),
        sa.Column("last_seen", sa.BigInteger()),
        sa.Column("asked_minute", sa.BigInteger()),
        sa.Column("logged", sa.BigInteger()),
        _needed("configured_minute", sa.BigInteger()),
        sa.Column("secret_sha256", sa.String(64)),
        **_COUNTING,
    )
    groups = op.create_table(
        "reader_groups",
        _own_id(),
        _needed("name", sa.String(200), unique=True),
        _needed("kind", sa.String(5)),
        sa.Column("note", sa.String(2000)),
    )
    # The first row of a table has id 1, which `models.EVERY_READER` relies on. Without an id in
    # the insert the database goes on counting from it.
    op.bulk_insert(groups, [{"name": "*", "kind": "all"}])
    op.create_table(
        "reader_group_members",
        _id_of("reader_groups", "group_id", "CASCADE", primary_key=True),
        _id_of("readers", "reader_id", "CASCADE", primary_key=True, index=True),
        **_WITHOUT_ROWID,
    )


def _make_people_and_tokens() -> None:
    op.create_table(
        "people",
        _own_id(),
        _needed("name", sa.String(200), index=True),
        sa.Column("note", sa.String(2000)),
        _needed("created", sa.BigInteger()),
        **_COUNTING,
    )
    op.create_table("person_groups", *_named())
    op.create_table(
        "person_group_members",
        _id_of("person_groups", "group_id", "CASCADE", primary_key=True),
        _id_of("people", "person_id", "CASCADE", primary_key=True, index=True),
        **_WITHOUT_ROWID,
    )
    op.create_table(
        "tokens",
        _own_id(),
        _needed("key", sa.LargeBinary(257), unique=True),
        _needed("code", sa.String(255)),
        _id_of("people", "person_id", None, nullable=True, index=True),
        sa.Column("name", sa.String(200)),
        _needed("blocked", sa.Boolean()),
        _needed("changed", sa.BigInteger(), index=True),
        _needed("deleted", sa.Boolean()),
    )
    for name in ("direct_rules", "token_rules"):
        op.create_table(
            name,
            _id_of("tokens", "token_id", None, primary_key=True),
            _id_of("reader_groups", "group_id", "CASCADE", primary_key=True, index=True),
            sa.Column("text", sa.String(64), primary_key=True),
            **_WITHOUT_ROWID,
        )


def _make_schedules() -> None:
    op.create_table("schedules", *_named())
    op.create_table(
        "schedule_windows",
        _own_id(),
        _id_of("schedules", "schedule_id", "CASCADE", index=True),
        sa.Column("start", sa.Integer()),
        sa.Column("end", sa.Integer()),
        sa.Column("mask", sa.String(7)),
        sa.Column("first_minute", sa.BigInteger()),
        sa.Column("last_minute", sa.BigInteger()),
    )
    op.create_table(
        "holidays",
        _own_id(),
        _needed("date", sa.String(10), index=True),
        sa.Column("name", sa.String(200)),
        _id_of("schedules", "schedule_id", "CASCADE", nullable=True, index=True),
        sa.UniqueConstraint("date", "schedule_id"),
        **_COUNTING,
    )
    op.create_table(
        "holiday_windows",
        _own_id(),
        _id_of("holidays", "holiday_id", "CASCADE", index=True),
        _needed("start", sa.Integer()),
        _needed("end", sa.Integer()),
    )
    op.create_table(
        "grants",
        _own_id(),
        _id_of("person_groups", "person_group_id", None, index=True),
        _id_of("reader_groups", "reader_group_id", None, index=True),
        _id_of("schedules", "schedule_id", None, index=True),
        sa.Column("first_minute", sa.BigInteger()),
        sa.Column("last_minute", sa.BigInteger()),
        **_COUNTING,
    )


def _make_users() -> None:
    op.create_table(
        "users",
        _own_id(),
        _needed("name", sa.String(200), unique=True),
        _needed("role", sa.String(8)),
        sa.Column("password_hash", sa.String(255)),
        _needed("disabled", sa.Boolean()),
        _needed("created", sa.BigInteger()),
    )
    op.create_table(
        "api_tokens",
        _own_id(),
        _id_of("users", "user_id", "CASCADE", index=True),
        _needed("name", sa.String(200)),
        _needed("sha256", sa.String(64), unique=True),
        _needed("created", sa.BigInteger()),
        sa.Column("last_used", sa.BigInteger()),
        sa.Column("expires", sa.BigInteger()),
    )
    op.create_table(
        "login_sessions",
        sa.Column("sha256", sa.String(64), primary_key=True),
        _id_of("users", "user_id", "CASCADE", index=True),
        _needed("created", sa.BigInteger()),
        _needed("expires", sa.BigInteger(), index=True),
    )
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.String(300), primary_key=True),
        _needed("failures", sa.Integer()),
        _needed("until", sa.BigInteger()),
    )
    op.create_table(
        "audit",
        _own_id(),
        _needed("at", sa.BigInteger(), index=True),
        _needed("who", sa.String(200)),
        _needed("action", sa.String(20)),
        _needed("kind", sa.String(40)),
        _needed("object", sa.Text()),
        sa.Column("before", sa.JSON()),
        sa.Column("after", sa.JSON()),
        **_COUNTING,
    )


def _make_access_log() -> None:
    op.create_table(
        "access_entries",
        _own_id(),
        _needed("reader", sa.String(64)),
        _needed("at", sa.BigInteger()),
        _needed("timed", sa.Boolean()),
        _needed("code", sa.String(1020)),
        _needed("state", sa.SmallInteger()),
        sa.Column("source", sa.SmallInteger()),
        sa.Column("reason", sa.SmallInteger()),
        sa.Column("log", sa.String(8)),
        sa.Column("number", sa.Integer()),
        _needed("received", sa.BigInteger()),
        **_COUNTING,
    )
    _index_entries("access_entries_by_time", "at")
    _index_entries("access_entries_by_code", "code", "at")
    _index_entries(
        "access_entries_numbered",
        *("reader", "log", "number"),
        unique=True,
        sqlite_where=sa.text("log IS NOT NULL"),
        postgresql_where=sa.text("log IS NOT NULL"),
    )
    _index_entries(
        "access_entries_known_by_time",
        *("reader", "at", "code", "state"),
        unique=True,
        sqlite_where=sa.text("log IS NULL AND timed = 1"),
        postgresql_where=sa.text("log IS NULL AND timed"),
    )
    op.create_table(
        "access_batches",
        sa.Column("reader", sa.String(64), primary_key=True),
        _needed("sha256", sa.String(64)),
        _needed("at", sa.BigInteger()),
    )


def _own_id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True)


def _id_of(table: str, name: str, ondelete: str | None, **more: Any) -> sa.Column[int]:
    reference = sa.ForeignKey(f"{table}.id", ondelete=ondelete)
    return sa.Column(name, _ID, reference, **{"nullable": False, **more})


def _named() -> list[sa.Column[Any]]:
    return [
        _own_id(),
        _needed("name", sa.String(200), unique=True),
        sa.Column("note", sa.String(2000)),
    ]


def _needed(name: str, kind: sa.types.TypeEngine[Any], **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **more)


def _index_entries(name: str, *columns: str, unique: bool = False, **where: Any) -> None:
    op.create_index(name, "access_entries", list(columns), unique=unique, **where)
