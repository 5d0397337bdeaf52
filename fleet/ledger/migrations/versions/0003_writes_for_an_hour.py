"""What was written to a provider's cache for an hour, which costs more than the usual five minutes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("entries", sa.Column("cache_write_1h_tokens", sa.BigInteger))
    op.add_column("rollups", sa.Column("cache_write_1h_tokens", sa.BigInteger, nullable=False, server_default="0"))
