"""Proves lines of a job: for each a text that anybody can check without the fleet, with the log's public key alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fleet.ledger.audit.log import Day, Signing, days_in, identity_of, snapshot
from fleet.ledger.database import translated
from fleet.ledger.tables import entries
from fleet.model.errors import FleetError
from fleet.receipts.leaves import leaf_of, names_of
from fleet.receipts.merkle import Frontier, Stretch
from fleet.receipts.notes import Checkpoint, text_of
from fleet.receipts.proofs import Proof


class NotProvable(FleetError):
    """There is no such line, or nothing that vouches for it."""


@dataclass(frozen=True, slots=True)
class LineProof:
    """The proof of one line of a job; `line` is its key, `leaf` the data of its leaf."""

    line: str
    day: str
    leaf: bytes
    proof: Proof


def prove(engine: Engine, job_id: str, tenant: str | None, signing: Signing | None) -> list[LineProof]:
    """Return the proofs of all lines of a job, in their order.

    A line is proved against its day's checkpoint. Where there is none yet, `signing` signs one of the log as it is now.

    Raises: NotProvable; its text says what to do. LedgerUnavailable.
    """
    with translated(engine.url), snapshot(engine) as connection:
        rows = _rows_of(connection, job_id, tenant)
        log = {day["day"]: (day, before) for day, before in days_in(connection)}
        return [
            proof
            for day, of_day in groupby(rows, key=lambda row: row["day"])
            for proof in _proofs(connection, *log[day], list(of_day), signing)
        ]


def _rows_of(connection: Connection, job_id: str, tenant: str | None) -> Sequence[Mapping[str, Any]]:
    wanted = sa.select(entries).where(entries.c.job_id == job_id).order_by(entries.c.seq)
    if tenant is not None:
        wanted = wanted.where(entries.c.tenant == tenant)
    rows = [dict(row) for row in connection.execute(wanted).mappings()]
    if not rows:
        raise NotProvable(f"the ledger has no line of {job_id}: it may be too young, too old, or erased")
    tenants = sorted({row["tenant"] for row in rows})
    if len(tenants) > 1:
        raise NotProvable(f"several tenants have a job {job_id}: name one of {', '.join(tenants)} with --tenant")
    return rows


def _proofs(
    connection: Connection, day: Day, before: Frontier, rows: Sequence[Mapping[str, Any]], signing: Signing | None
) -> list[LineProof]:
    is_sealed = day["checkpoint"] is not None
    if not is_sealed and signing is None:
        state = "is not over" if day["root"] is None else "was closed without a key"
        raise NotProvable(f"{day['day']} {state}, so nothing is signed: set FLEET_LEDGER_KEY_FILE to sign it now")
    stretch, places = _stretch(connection, day, before, to_the_end=not is_sealed)
    if signing is None or is_sealed:
        note = day["checkpoint"]
    else:
        note = signing.signed(identity_of(connection), before.appended(stretch.leaves))
    checkpoint = Checkpoint.parsed(text_of(note))
    if stretch.end != checkpoint.size or stretch.root(checkpoint.size) != checkpoint.root:
        raise NotProvable(f"the rows of {day['day']} are not those of its checkpoint: `fleet ledger verify` says more")
    return [_proof(row, places[row["seq"]], stretch, checkpoint.size, note) for row in rows]


def _stretch(connection: Connection, day: Day, before: Frontier, to_the_end: bool) -> tuple[Stretch, Mapping[int, int]]:
    """Return the leaves of a day, or of all rows since its first, and the place of each row in the log."""
    wanted = sa.select(entries.c.seq, entries.c.leaf).where(entries.c.seq >= day["first_seq"]).order_by(entries.c.seq)
    if not to_the_end:
        wanted = wanted.where(entries.c.seq <= day["last_seq"])
    rows = connection.execute(wanted).all()
    places = {seq: before.size + number for number, (seq, _) in enumerate(rows)}
    return Stretch(before, [leaf for _, leaf in rows]), places


def _proof(row: Mapping[str, Any], index: int, stretch: Stretch, size: int, note: str) -> LineProof:
    leaf = leaf_of(row)
    proof = Proof(index, tuple(stretch.inclusion(index, size)), note, _opening(row, leaf))
    return LineProof(row["line"], row["day"], leaf, proof)


def _opening(row: Mapping[str, Any], leaf: bytes) -> bytes:
    """Return what the leaf was made of, as JSON; of an erased line the leaf itself is all there is."""
    said = {"leaf": leaf.decode()}
    if row["body"] is not None:
        said |= {
            "salt": row["salt"].hex(),
            "names": names_of(row).decode(),
            "body": base64.b64encode(row["body"]).decode(),
        }
    return json.dumps(said).encode()
