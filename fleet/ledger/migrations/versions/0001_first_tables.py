"""The tables as they were first made, and the view for the daily query of calls and costs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

CALLS = """
CREATE VIEW ai_call_logs AS
SELECT seq AS id, {created_at} AS created_at, tenant, job_id, task, plan, lane, target, provider, model, region,
    input_tokens, output_tokens, cached_input_tokens, {cost} AS estimated_cost,
    ended_at - started_at AS latency_seconds, confidence, reason, failure, failure IS NULL AS success, FALSE AS cached
FROM entries WHERE attempt IS NOT NULL
"""
CREATED_AT = {
    # The days of the view are those of UTC, whatever the time zone of the session.
    "postgresql": "to_timestamp(at) AT TIME ZONE 'UTC'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', at, 'unixepoch')",
}
COST = {"postgresql": "CAST(cost_nano_usd AS numeric) / 1000000000", "sqlite": "cost_nano_usd / 1e9"}


def upgrade() -> None:
    _entries()
    _days_and_state()
    _rollups()
    dialect = op.get_bind().dialect.name
    op.execute(CALLS.format(created_at=CREATED_AT[dialect], cost=COST[dialect]))
    if dialect == "postgresql":
        # Rows lie in the order of time, so that the smallest kind of index finds the blocks of some days.
        op.execute(f"CREATE INDEX entries_created_at ON entries USING brin (({CREATED_AT[dialect]}))")


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "job_id", "line")),
        *(sa.Column(name, sa.Text) for name in ("lane", "task", "plan", "status", "reason", "person")),
        sa.Column("attempt", sa.BigInteger),
        *(sa.Column(name, sa.Text) for name in ("target", "provider", "model", "region")),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("finish_reason", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("confidence", sa.Double),
        sa.Column("threshold", sa.Double),
        sa.Column("calibration", sa.Text),
        sa.Column("probe", sa.Text),
        sa.Column("repeated", sa.Boolean),
        *(sa.Column(name, sa.BigInteger) for name in ("cost_nano_usd", "input_tokens", "output_tokens")),
        *(sa.Column(name, sa.BigInteger) for name in ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens")),
        sa.Column("submitted_at", sa.Double),
        sa.Column("traceparent", sa.Text),
        sa.Column("batch", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
    )
    submission = sa.text("coalesce(submitted_at, 0)")
    op.create_index("entries_line", "entries", ["job_id", "tenant", "line", submission], unique=True)
    for name in ("status", "tenant", "target", "lane", "reason"):
        _index(f"entries_ended_{name}", [name, "seq"], "status IS NOT NULL")
    _index("entries_ended", ["seq"], "status IS NOT NULL")
    _index("entries_batch", ["batch"], "batch IS NOT NULL")


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "entries", columns, postgresql_where=where, sqlite_where=where)


def _days_and_state() -> None:
    op.create_table(
        "days",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("first_seq", sa.BigInteger),
        sa.Column("last_seq", sa.BigInteger),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("checkpoint", sa.Text),
        sa.Column("parquet", sa.Text),
    )
    op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("ahead", sa.BigInteger, nullable=False),
        sa.Column("last_mark", sa.LargeBinary, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("unreadable", "duplicates", "missed")),
    )
    op.execute("INSERT INTO state VALUES (1, '', 0, 0, '', 0, 0, 0, 0)")


def _rollups() -> None:
    keys = ("day", "tenant", "lane", "task", "plan", "target", "reason", "status")
    counts = ("lines", "attempts", "jobs", "failures", "cost_nano_usd", "input_tokens", "output_tokens")
    more = ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
    op.create_table(
        "rollups",
        *(sa.Column(name, sa.Text, primary_key=True) for name in keys),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*counts, *more)),
        sa.Column("attempt_seconds", sa.Double, nullable=False),
    )
