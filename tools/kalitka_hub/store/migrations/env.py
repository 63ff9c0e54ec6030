"""What Alembic runs to do the steps: on the connection, and in the transaction, of `migrate`."""

from alembic import context

from kalitka_hub.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
