"""Runs the steps on the connection that `fleet.ledger.database.migrate` holds open, inside its transaction."""

from alembic import context

from fleet.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
