"""What readers hold, and the readers that asked without being added.

Of a reader that last did a full sync it is not known which minute it held before: it may hold
rules of any token.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column and the table."""
    with op.batch_alter_table("readers") as readers:
        readers.add_column(sa.Column("held_minute", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE readers SET held_minute = COALESCE(asked_minute, 0) WHERE last_seen IS NOT NULL"
    )
    op.create_table(
        "unknown_readers",
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_unknown_readers"),
    )
