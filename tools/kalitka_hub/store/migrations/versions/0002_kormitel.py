"""The exchange with Kormitel: objects, their tokens and rules, and integration users."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WITHOUT_ROWID = {"sqlite_with_rowid": False}
_COUNTING = {"sqlite_autoincrement": True}
_JSON_OR_NULL = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Create the tables, and widen the role column for `integration`."""
    with op.batch_alter_table("site") as site:
        site.add_column(sa.Column("kormitel_answered", sa.BigInteger()))
        site.add_column(sa.Column("kormitel_paused", sa.BigInteger()))
        site.add_column(sa.Column("kormitel_meals", _JSON_OR_NULL))
    with op.batch_alter_table("users") as users:
        users.alter_column("role", existing_type=sa.String(8), type_=sa.String(11))
    _make_objects()
    _make_rules()
    _make_exchange()


def _make_objects() -> None:
    op.create_table(
        "kormitel_objects",
        _own_id(),
        _needed("kind", sa.String(40)),
        _needed("key", sa.String(100)),
        _needed("fields", sa.JSON()),
        _needed("writes", sa.JSON()),
        sa.Column("created", sa.BigInteger()),
        sa.Column("born", sa.BigInteger()),
        sa.Column("died", sa.BigInteger()),
        sa.Column("lives", _JSON_OR_NULL),
        _needed("changed", sa.BigInteger()),
        _needed("by", sa.String(200)),
        sa.Column("held", sa.Text()),
        sa.Column("told_direction", sa.String(100)),
        sa.Column("dropped", sa.BigInteger()),
        sa.Column("taken", sa.String(64)),
        sa.Column("badge", sa.String(100), index=True),
        sa.Column("person", sa.String(100), index=True),
        sa.Column("direction", sa.String(100), index=True),
        sa.Column("code", sa.String(255), index=True),
        sa.Column("code_since", sa.BigInteger()),
        sa.UniqueConstraint("kind", "key"),
        **_COUNTING,
    )
    op.create_index("kormitel_objects_changed", "kormitel_objects", ["kind", "changed"])
    op.create_table(
        "kormitel_told_directions",
        sa.Column("direction", sa.String(100), primary_key=True),
        sa.Column("engagement", sa.String(100), primary_key=True, index=True),
        **_WITHOUT_ROWID,
    )


def _make_rules() -> None:
    op.create_table(
        "kormitel_kitchens",
        sa.Column("kitchen", sa.String(100), primary_key=True),
        _id_of("reader_groups", "group_id", "CASCADE", primary_key=True, index=True),
        **_WITHOUT_ROWID,
    )
    op.create_table(
        "kormitel_tokens",
        _id_of("tokens", "token_id", None, primary_key=True, autoincrement=False),
        _id_of("kormitel_objects", "badge_id", None, index=True),
        _needed("made", sa.Boolean()),
    )
    op.create_table(
        "kormitel_rules",
        _id_of("tokens", "token_id", None, primary_key=True),
        _id_of("reader_groups", "group_id", "CASCADE", primary_key=True, index=True),
        sa.Column("text", sa.String(64), primary_key=True),
        **_WITHOUT_ROWID,
    )


def _make_exchange() -> None:
    op.create_table(
        "kormitel_set_aside",
        _own_id(),
        _needed("at", sa.BigInteger()),
        _needed("by", sa.String(200)),
        _needed("kind", sa.String(40)),
        _needed("item", sa.JSON()),
        _needed("reason", sa.Text()),
        _needed("sha256", sa.String(64), unique=True),
        sa.Column("waits", sa.String(141), index=True),
        _needed("state", sa.String(9), index=True),
        sa.Column("settled", sa.BigInteger()),
        sa.Column("settled_by", sa.String(200)),
        **_COUNTING,
    )
    op.create_table(
        "kormitel_exchanges",
        _own_id(),
        _needed("at", sa.BigInteger()),
        _needed("user", sa.String(500)),
        _needed("way", sa.String(9)),
        sa.Column("shape", sa.String(7)),
        sa.Column("from_date", sa.BigInteger()),
        _needed("counts", sa.JSON()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("took", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("left_out", _JSON_OR_NULL),
        **_COUNTING,
    )
    op.create_index("kormitel_exchanges_of_user", "kormitel_exchanges", ["user", "way", "at"])
    op.create_table(
        "kormitel_peers",
        sa.Column("url", sa.String(500), primary_key=True),
        sa.Column("from_date", sa.BigInteger()),
        _needed("sent", sa.BigInteger()),
        _needed("sent_id", sa.BigInteger()),
    )


def _own_id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True)


def _id_of(table: str, name: str, ondelete: str | None, **more: Any) -> sa.Column[int]:
    reference = sa.ForeignKey(f"{table}.id", ondelete=ondelete)
    return sa.Column(name, _ID, reference, **{"nullable": False, **more})


def _needed(name: str, kind: sa.types.TypeEngine[Any], **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **more)
