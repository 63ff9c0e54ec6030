"""The objects of quarantined items: what was set aside is not told back to Kormitel meanwhile.

Items of the time before get the id that they were sent with, and their objects are looked at again
before the next one is sent.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column, and fill it for open items."""
    with op.batch_alter_table("kormitel_set_aside") as items:
        items.add_column(sa.Column("key", sa.String(100), nullable=True))
        items.create_index("ix_kormitel_set_aside_key", ["key"])
    columns = (sa.column("id"), sa.column("item", sa.JSON()), sa.column("key"), sa.column("state"))
    table = sa.table("kormitel_set_aside", *columns)
    connection = op.get_bind()
    found = connection.execute(sa.select(table.c.id, table.c.item).where(table.c.state == "open"))
    for id, item in found.all():
        key = _key_of(item)
        if key is not None:
            connection.execute(table.update().where(table.c.id == id).values(key=key))
    site = sa.table("site", sa.column("kormitel_recheck", sa.Boolean()))
    objects = sa.table("kormitel_objects", sa.column("id"))
    op.execute(site.update().values(kormitel_recheck=sa.exists(sa.select(objects.c.id))))


def _key_of(item: object) -> str | None:
    """Return the id of a stored item, [verb, what was sent], as a key; None if it is odd."""
    given = item[1] if isinstance(item, list) and len(item) > 1 else None
    data = given.get("data", given) if isinstance(given, dict) else {}
    key = data.get("id") if isinstance(data, dict) else None
    # As Kormitel writes its ids; a rare other form stays as it was.
    return key.lower() if isinstance(key, str) and 0 < len(key) <= 100 else None
