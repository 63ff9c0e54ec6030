"""Alembic's environment: runs the migrations on the connection and transaction of `migrate`."""

from alembic import context

from kalitka_hub.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
