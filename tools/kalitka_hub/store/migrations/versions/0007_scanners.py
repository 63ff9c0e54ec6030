"""What the scanners of the site, and of a reader, send."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns."""
    for table in ("site", "readers"):
        with op.batch_alter_table(table) as changed:
            changed.add_column(sa.Column("scanners", sa.String(100), nullable=True))
