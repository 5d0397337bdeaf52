"""What calls left out of their jobs' requests, and whether their answers stayed the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("entries", sa.Column("left_out_tokens", sa.BigInteger))
    op.add_column("entries", sa.Column("spare_tokens", sa.BigInteger))
    op.add_column("entries", sa.Column("diet_agreed", sa.Boolean))
