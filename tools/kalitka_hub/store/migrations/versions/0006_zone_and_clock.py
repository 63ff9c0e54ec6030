"""The name of the site's time zone, which is set on purpose from now on; a confirmed clock.

UTC0 was also what a server stored that had been given no zone: nobody may have meant it, so it
becomes "not set", and the next server asks. Any other zone was given by a person, and stays.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns, and forget a zone that may be a default."""
    with op.batch_alter_table("site") as site:
        site.add_column(sa.Column("zone_name", sa.String(100)))
        site.add_column(sa.Column("confirmed_audit", sa.BigInteger()))
        site.add_column(sa.Column("confirmed_entry", sa.BigInteger()))
    op.execute("UPDATE site SET zone = NULL WHERE zone = 'UTC0'")
