"""How many entries of its log a reader lost before it could send them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the column."""
    with op.batch_alter_table("readers") as readers:
        readers.add_column(sa.Column("lost", sa.BigInteger()))
