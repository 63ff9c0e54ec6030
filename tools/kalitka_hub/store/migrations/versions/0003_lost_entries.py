"""A reader's count of access log entries lost before it could send them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("readers") as readers:
        readers.add_column(sa.Column("lost", sa.BigInteger()))
