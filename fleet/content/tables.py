"""The tables of the content store; nothing else spells their names."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

contents = Table(
    "contents",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("at", Double, nullable=False, doc="unix seconds when the answer was delivered"),
    Column("task", Text, nullable=False),
    Column("target", Text),
    Column("person", Text, doc="opaque id of whom it is about"),
    Column("sealed", LargeBinary, nullable=False, doc="request and answer, encrypted"),
)
Index("contents_at", contents.c.at)
Index("contents_person", contents.c.person)

keys = Table(
    "keys",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False, doc="the tenant's part of its key; without it nothing of it opens"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("salt", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, nullable=False, doc="SHA-256 of the salt and of who was erased"),
    Column("at", Double, nullable=False, doc="unix seconds of the erasure"),
)

reads = Table(
    "reads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False, doc="the user of the machine who asked"),
    Column("asked", Text, nullable=False, doc="what was asked for, as words"),
)
