"""Records of batches, stored before they are made, so that a crash never has a row sent twice.

A batch has a record, and each of its rows a claim that names the record. The record is `begun`; then the provider makes
the batch, and the record gets its id: it is `made`. Whoever is to send a row that is claimed waits for that batch. A
record that stays begun is one whose process died: if the provider has no batch of its name it is `dropped`, which a
process that was only slow finds out when it wants to add the id; the rows may then be claimed again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from fleet.model.money import Deposit, Quote, Reservation

BATCH, ROW = "batch", "batchrow"
"""The first part of the keys of records and claims; the second is the target."""


class Versioned(Protocol):
    """A value and its revision; revision 0 means that nothing is stored."""

    @property
    def value(self) -> bytes: ...

    @property
    def revision(self) -> int: ...


class SharedCells(Protocol):
    """Compare-and-set by key. Both methods raise `QueueUnavailable` if the broker does not answer."""

    async def read(self, key: str) -> Versioned: ...

    async def write(self, key: str, value: bytes, revision: int) -> int | None:
        """Return the new revision, or None if `revision` is not the latest. If this raises, it may be stored."""


class Stage(StrEnum):
    BEGUN = "begun"
    MADE = "made"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch under the name we gave it; `begun_at` is in unix seconds, `revision` that of its cell."""

    name: str
    begun_at: float
    stage: Stage = Stage.BEGUN
    rows: tuple[str, ...] = ()
    batch_id: str | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class RowClaim:
    """The batch that a row is in, and the money that was set aside for it, until somebody has taken it to settle it."""

    row: str
    record: BatchRecord
    deposit: Deposit | None
    revision: int


class BatchClaims:
    """The records and claims of one target, shared by all dispatchers."""

    def __init__(self, cells: SharedCells, target: str) -> None:
        self._cells = cells
        self._target = target

    async def begin(self, name: str, rows: Mapping[str, Deposit | None], now: float) -> BatchRecord | None:
        """Store a record with those rows that nobody else has claimed, and return it; None if none is left."""
        record = await self._write(BatchRecord(name, now))
        if record is None:
            return None
        claimed = await asyncio.gather(*(self._claim(row, name, deposit) for row, deposit in rows.items()))
        ours = tuple(row for row, is_ours in zip(rows, claimed, strict=True) if is_ours)
        return await self._write(replace(record, rows=ours)) if ours else None

    async def of(self, rows: Sequence[str]) -> Mapping[str, RowClaim]:
        """Return the claims of those rows that have one, unless their batch was dropped."""
        cells = await asyncio.gather(*(self._cells.read(self._row_key(row)) for row in rows))
        claims = {
            row: (*json.loads(cell.value), cell.revision) for row, cell in zip(rows, cells, strict=True) if cell.value
        }
        names = sorted({name for name, *_ in claims.values()})
        records = dict(zip(names, await asyncio.gather(*map(self._record, names)), strict=True))
        found: dict[str, RowClaim] = {}
        for row, (name, money, revision) in claims.items():
            record = records[name]
            if record is not None and record.stage is not Stage.DROPPED:
                deposit = None if money is None else Deposit(Reservation(*money[:3]), Quote(*money[3:]))
                found[row] = RowClaim(row, record, deposit, revision)
        return found

    async def take_deposit(self, claim: RowClaim) -> Deposit | None:
        """Return the money to settle, to one caller alone: whoever is given the row's outcome again gets None."""
        if claim.deposit is None:
            return None
        value = json.dumps([claim.record.name, None]).encode()
        taken = await self._cells.write(self._row_key(claim.row), value, claim.revision)
        return None if taken is None else claim.deposit

    async def made(self, record: BatchRecord, batch_id: str) -> bool:
        """Add the provider's id; False if somebody has dropped the record, or added it before."""
        return await self._write(replace(record, stage=Stage.MADE, batch_id=batch_id)) is not None

    async def drop(self, record: BatchRecord) -> bool:
        """Say that this batch was never made; False if it was, or somebody else has said so."""
        return await self._write(replace(record, stage=Stage.DROPPED)) is not None

    def _row_key(self, row: str) -> str:
        return f"{ROW}.{self._target}.{row}"

    async def _claim(self, row: str, name: str, deposit: Deposit | None) -> bool:
        cell = await self._cells.read(self._row_key(row))
        if cell.value:
            before = await self._record(json.loads(cell.value)[0])
            if before is not None and before.stage is not Stage.DROPPED:
                return False
        value = json.dumps([name, _written(deposit)]).encode()
        return await self._cells.write(self._row_key(row), value, cell.revision) is not None

    async def _record(self, name: str) -> BatchRecord | None:
        cell = await self._cells.read(f"{BATCH}.{self._target}.{name}")
        return _read(cell) if cell.value else None

    async def _write(self, record: BatchRecord) -> BatchRecord | None:
        """Store the record if nobody has changed it since it was read."""
        body = {key: value for key, value in asdict(record).items() if key != "revision"}
        key = f"{BATCH}.{self._target}.{record.name}"
        revision = await self._cells.write(key, json.dumps(body).encode(), record.revision)
        return None if revision is None else replace(record, revision=revision)


def _written(deposit: Deposit | None) -> list[Any] | None:
    if deposit is None:
        return None
    reserved, quote = deposit.reservation, deposit.quote
    return [reserved.tenant, reserved.amount, reserved.at, quote.cost, quote.output_tokens, quote.input_tokens]


def _read(cell: Versioned) -> BatchRecord:
    found: dict[str, Any] = json.loads(cell.value)
    known = {"stage": Stage(found["stage"]), "rows": tuple(found["rows"]), "revision": cell.revision}
    return BatchRecord(**{**found, **known})
