"""The arm of an experiment that a job was in, and the probability with which it was drawn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("entries", sa.Column("experiment", sa.Text))
    op.add_column("entries", sa.Column("arm", sa.Text))
    op.add_column("entries", sa.Column("propensity", sa.Double))
