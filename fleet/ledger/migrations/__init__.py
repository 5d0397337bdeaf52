"""Changes the ledger's tables from version to version, one step a file; Alembic runs those that are missing."""
