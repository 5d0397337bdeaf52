"""When an answer was made that was given again: before the job came, or while it was there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

first: Any = import_module("fleet.ledger.migrations.versions.0001_first_tables")


def upgrade() -> None:
    op.add_column("entries", sa.Column("avoided_at", sa.Double))
    dialect = op.get_bind().dialect.name
    calls = first.CALLS.replace("FALSE AS cached", "COALESCE(target IN ('exact', 'semantic'), FALSE) AS cached")
    op.execute("DROP VIEW ai_call_logs")
    op.execute(calls.format(created_at=first.CREATED_AT[dialect], cost=first.COST[dialect]))
