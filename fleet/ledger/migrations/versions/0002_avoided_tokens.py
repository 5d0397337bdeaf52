"""What answers without a call avoided, and the view that says which answers were cached."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

first: Any = import_module("fleet.ledger.migrations.versions.0001_first_tables")


def upgrade() -> None:
    op.add_column("entries", sa.Column("avoided_target", sa.Text))
    op.add_column("entries", sa.Column("avoided_input_tokens", sa.BigInteger))
    op.add_column("entries", sa.Column("avoided_output_tokens", sa.BigInteger))
    dialect = op.get_bind().dialect.name
    calls = first.CALLS.replace("FALSE AS cached", "COALESCE(target = 'exact', FALSE) AS cached")
    op.execute("DROP VIEW ai_call_logs")
    op.execute(calls.format(created_at=first.CREATED_AT[dialect], cost=first.COST[dialect]))
    # An answer without a call counts as a job and as no call: lines that were counted before were counted as one.
    op.execute("UPDATE rollups SET attempts = 0 WHERE target IN ('pattern', 'exact')")
