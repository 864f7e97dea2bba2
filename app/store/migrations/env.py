"""Run migrations on the connection, and in the transaction, that `app.store.migrate` hands over."""

from alembic import context

from app.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
