"""Access log entries that stand for several cards, with their number."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("access_entries") as entries:
        entries.add_column(sa.Column("count", sa.Integer(), nullable=False, server_default="0"))
