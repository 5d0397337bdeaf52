"""The log over the ledger's rows: appended in the writer's own transaction, with a checkpoint for each day.

It is one append-only log. A day's checkpoint covers every line up to the day's last, so the tree of a day begins with
the whole tree of the day before.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine

from fleet.ledger.database import SQLITE
from fleet.ledger.tables import days
from fleet.receipts.leaves import genesis, origin_of
from fleet.receipts.merkle import Frontier
from fleet.receipts.notes import Checkpoint, SignerKey

Day = Mapping[str, Any]
"""A row of `days`."""

IDENTITY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs checkpoints: `name` is the first part of the log's origin, the log's identity the second.

    Each origin has a key of its own name over the same private key, as the format advises.
    """

    name: str
    private: Ed25519PrivateKey

    def key(self, identity: bytes) -> SignerKey:
        return SignerKey(origin_of(self.name, identity), self.private)

    def signed(self, identity: bytes, tree: Frontier) -> str:
        """Return the signed checkpoint of the log as it is now."""
        key = self.key(identity)
        return key.signed(Checkpoint(key.verifier.name, tree.size, tree.root).text)


def append(connection: Connection, rows: Iterable[Mapping[str, Any]], signing: Signing | None) -> None:
    """Add the rows' leaves to the log, in the order of the stream; the first row of a day closes the day before."""
    for day, of_day in groupby(rows, key=lambda row: row["day"]):
        found = list(of_day)
        current = _opened(connection, day, signing)
        tree = frontier_of(current).appended(row["leaf"] for row in found)
        connection.execute(
            sa.update(days)
            .where(days.c.day == day)
            .values(
                first_seq=current["first_seq"] or found[0]["seq"],
                last_seq=found[-1]["seq"],
                size=current["size"] + len(found),
                frontier=tree.packed(),
            )
        )


def _opened(connection: Connection, day: str, signing: Signing | None) -> Day:
    """Return the open day; make it, and close the one before, if this is its first row."""
    found = connection.execute(sa.select(days).order_by(days.c.day.desc()).limit(1)).mappings().first()
    last = None if found is None else dict(found)
    if last is not None and last["day"] == day:
        return last
    previous = secrets.token_bytes(IDENTITY_BYTES) if last is None else _closed(connection, last, signing)
    tree = genesis(previous) if last is None else frontier_of(last)
    made = {"day": day, "first_seq": None, "size": 0, "frontier": tree.packed(), "previous": previous}
    connection.execute(sa.insert(days).values(**made))
    return made


def _closed(connection: Connection, day: Day, signing: Signing | None) -> bytes:
    """Close a day and return its root."""
    tree = frontier_of(day)
    checkpoint = None if signing is None else signing.signed(identity_of(connection), tree)
    closed = sa.update(days).where(days.c.day == day["day"]).values(root=tree.root, checkpoint=checkpoint)
    connection.execute(closed)
    return tree.root


def identity_of(connection: Connection) -> bytes:
    """Return the log's identity, which stands where later days have the root of the day before.

    Raises: LookupError if the ledger has no line yet.
    """
    first = connection.scalar(sa.select(days.c.previous).order_by(days.c.day).limit(1))
    if first is None:
        raise LookupError("the ledger is empty")
    return bytes(first)


def frontier_of(day: Day) -> Frontier:
    """Return the frontier at the end of a day. Raises: ValueError if the row holds none."""
    return Frontier.unpacked(day["frontier"])


def days_in(connection: Connection) -> Iterator[tuple[Day, Frontier]]:
    """Yield each day, oldest first, with the frontier before it as the rows of `days` have it.

    Raises: ValueError if a row holds no frontier.
    """
    before: Frontier | None = None
    for day in connection.execute(sa.select(days).order_by(days.c.day)).mappings().all():
        yield dict(day), genesis(day["previous"]) if before is None else before
        before = frontier_of(dict(day))


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection that sees the database as it is at its first question, whatever is written meanwhile."""
    is_sqlite = engine.dialect.name == SQLITE
    options = {} if is_sqlite else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection:
        if is_sqlite:  # Python's driver begins no transaction to read
            connection.exec_driver_sql("BEGIN")
        yield connection
