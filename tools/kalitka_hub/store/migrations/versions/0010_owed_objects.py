"""Objects that a client of Kormitel passed over in an answer, and that are sent again."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column and the table."""
    with op.batch_alter_table("kormitel_objects") as objects:
        objects.add_column(sa.Column("released", sa.BigInteger(), nullable=True))
    op.create_table(
        "kormitel_owed",
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user", "kind", "key", name="pk_kormitel_owed"),
        sqlite_with_rowid=False,
    )
