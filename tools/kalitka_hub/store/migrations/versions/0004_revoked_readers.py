"""The time at which a reader was revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("readers") as readers:
        readers.add_column(sa.Column("revoked", sa.BigInteger()))
