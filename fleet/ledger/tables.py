"""The tables of the ledger's database. Migrations make them; nothing else spells their names."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)

WORD_CHARS = 64
TEXT_CHARS = 200
"""Maximum characters of words that are keys, and of other text. What an index holds has a limit in PostgreSQL
(2,704 bytes), and a line that breaks it would stop all lines behind it.
"""

metadata = MetaData()

# In SQLite only an INTEGER primary key is the row's own number, without an index beside it.
_SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")

entries = Table(
    "entries",
    metadata,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=False, doc="number of the message in the stream"),
    Column("day", Text, nullable=False, doc="UTC day of `at`, as YYYY-MM-DD"),
    Column("at", Double, nullable=False, doc="unix seconds when the broker stored it; never before the line before"),
    Column("tenant", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("line", Text, nullable=False, doc="which line of the job: an attempt's number, or `end`"),
    Column("lane", Text),
    Column("task", Text),
    Column("plan", Text),
    Column("status", Text, doc="null unless this line ended the job"),
    Column("reason", Text, doc="null in a line that could not be read; its body is kept"),
    Column("person", Text, doc="opaque id of whom the job's content is about, for erasure alone"),
    Column("attempt", BigInteger, doc="number of the attempt; null in a line without one"),
    Column("target", Text, doc="of the attempt; without one, whose answer the job that ended got"),
    Column("provider", Text),
    Column("model", Text),
    Column("region", Text),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("finish_reason", Text),
    Column("failure", Text, doc="kind of the failure; null for an answer"),
    Column("confidence", Double),
    Column("threshold", Double, doc="confidence that was needed; null also where none is enough"),
    Column("calibration", Text),
    Column("probe", Text),
    Column("repeated", Boolean),
    Column("cost_nano_usd", BigInteger),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_input_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("submitted_at", Double),
    Column("traceparent", Text),
    Column("batch", Text, doc="micro-batch the attempt ran in"),
    Column("avoided_target", Text, doc="whose answer was given again; null where no cached answer was"),
    Column("avoided_input_tokens", BigInteger, doc="what a model would have read for an answer that none gave"),
    Column("avoided_output_tokens", BigInteger, doc="and written: known of a cached answer, else an estimate"),
    Column("cache_write_1h_tokens", BigInteger, doc="of `cache_write_tokens`, those kept for an hour"),
    Column("experiment", Text, doc="whose arm the job is in; null outside an experiment"),
    Column("arm", Text),
    Column("propensity", Double, doc="probability with which the arm was drawn"),
    Column("left_out_tokens", BigInteger, doc="estimated tokens of old turns and tools that the call left out"),
    Column("spare_tokens", BigInteger, doc="the same of those it could have left out and did not"),
    Column("diet_agreed", Boolean, doc="whether two calls, with and without a diet, were answered alike"),
    Column("avoided_at", Double, doc="unix seconds when the answer was made that was given again"),
    Column("adapter", Text, doc="digest of the adapter that the model answered with; null without one"),
    Column("body", LargeBinary, doc="the message as it came; null once erased"),
    Column("salt", LargeBinary, doc="16 random bytes; null once erased"),
    Column("commitment", LargeBinary, nullable=False, doc="SHA-256 of salt, names and body"),
    Column("leaf", LargeBinary, nullable=False, doc="hash of the row's leaf in the log"),
)

# A job that is submitted again under its id, once its result is forgotten, runs and is paid for again.
_submission = func.coalesce(entries.c.submitted_at, text("0"))
Index("entries_line", entries.c.job_id, entries.c.tenant, entries.c.line, _submission, unique=True)

ended = entries.c.status.is_not(None)
"""The condition of lines that ended a job: lists of jobs read these alone."""

for _name in ("status", "tenant", "target", "lane", "reason"):
    Index(f"entries_ended_{_name}", entries.c[_name], entries.c.seq, postgresql_where=ended, sqlite_where=ended)
Index("entries_ended", entries.c.seq, postgresql_where=ended, sqlite_where=ended)

_batched = entries.c.batch.is_not(None)
Index("entries_batch", entries.c.batch, postgresql_where=_batched, sqlite_where=_batched)

days = Table(
    "days",
    metadata,
    Column("day", Text, primary_key=True),
    Column("first_seq", BigInteger),
    Column("last_seq", BigInteger),
    Column("size", BigInteger, nullable=False, doc="rows of the day when they were written"),
    Column("frontier", LargeBinary, nullable=False, doc="right edge of the log after the day"),
    Column("root", LargeBinary, doc="root of the log after the day; null until the day is closed"),
    Column("previous", LargeBinary, doc="root of the day before; in the first day, the identity of the log"),
    Column("checkpoint", Text, doc="signed note about the root"),
    Column("parquet", Text, doc="SHA-256 of the day's Parquet file"),
)

GROUPS = ("day", "tenant", "lane", "task", "plan", "target", "reason", "status")
"""The columns of a rollup's key; empty text stands for null."""

TOKENS = (
    *("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"),
    "cache_write_1h_tokens",
)

SUMS = ("lines", "attempts", "jobs", "failures", "cost_nano_usd", *TOKENS, "attempt_seconds")
"""The sums of a rollup. `attempts` are the calls, `failures` those without an answer, `jobs` those that ended: one that
is answered without a call is a job and no attempt.
"""

rollups = Table(
    "rollups",
    metadata,
    *(Column(name, Text, primary_key=True) for name in GROUPS),
    *(Column(name, BigInteger, nullable=False) for name in SUMS[:-1]),
    Column("attempt_seconds", Double, nullable=False),
)

state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, doc="1: there is one row"),
    Column("stream", Text, nullable=False, doc="when the stream was made, as the broker says"),
    Column("last_seq", BigInteger, nullable=False, doc="every line of the stream up to this one is here"),
    Column("ahead", BigInteger, nullable=False, doc="what a row's number is above that of its line in the stream"),
    Column("last_mark", LargeBinary, nullable=False, doc="SHA-256 of the last line; empty if it is not known"),
    Column("last_at", Double, nullable=False),
    Column("unreadable", BigInteger, nullable=False, doc="lines kept that could not be read"),
    Column("duplicates", BigInteger, nullable=False, doc="lines left out because they were there before"),
    Column("missed", BigInteger, nullable=False, doc="lines that the stream lost before they were read"),
)
