"""Fields that are withheld from Kormitel while the rest of their object is sent.

Objects of the time before were withheld for fewer reasons: they are looked at again before the
next one is sent.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns, and have existing objects looked at again."""
    with op.batch_alter_table("kormitel_objects") as objects:
        objects.add_column(sa.Column("held_fields", sa.JSON(), nullable=True))
    with op.batch_alter_table("site") as site:
        site.add_column(sa.Column("kormitel_recheck", sa.Boolean(), nullable=True))
    objects = sa.table("kormitel_objects", sa.column("id"))
    site = sa.table("site", sa.column("kormitel_recheck", sa.Boolean()))
    op.execute(site.update().values(kormitel_recheck=sa.exists(sa.select(objects.c.id))))
