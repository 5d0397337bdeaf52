"""The starts that were seen of each target, in cells that all dispatchers share: the key `cold.<target>`.

They are kept in the bucket `spend`, as long as its accounts: what took two minutes last week says little of today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fleet.logs import get_logger
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import ObservedStart
from policies.scaling.cold_starts import remembered
from queues.jetstream.stores.cells import Cell, Cells
from queues.wire.subjects import spend_subject

TRIES = 8
"""Writes that lose to another dispatcher's before a start is given up; the others have seen it as well."""

PREFIX = "cold"

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_RECORDS = TypeAdapter(list[tuple[_Seconds, _Seconds]])

log = get_logger(__name__)


class CellColdStarts:
    """Implements `fleet.ports.ColdStartBook` on cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def read(self) -> Mapping[str, Sequence[ObservedStart]]:
        keys = await self._cells.keys(PREFIX)
        return {key.removeprefix(f"{PREFIX}."): _starts(key, await self._cells.read(key)) for key in keys}

    async def add(self, target: str, start: ObservedStart) -> Sequence[ObservedStart]:
        key = f"{PREFIX}.{target}"
        for _ in range(TRIES):
            cell = await self._cells.read(key)
            before = _starts(key, cell)
            after = remembered(before, start)
            if after == tuple(before):
                return after
            body = _RECORDS.dump_json([(each.seconds, each.ready_at) for each in after])
            if await self._cells.write(key, body, cell.revision) is not None:
                return after
        raise QueueUnavailable(f"{key}: others wrote first {TRIES} times")


def _starts(key: str, cell: Cell) -> Sequence[ObservedStart]:
    """Return the starts in a cell; what cannot be read counts as none, and is logged."""
    if not cell.value:
        return ()
    try:
        return [ObservedStart(seconds, ready_at) for seconds, ready_at in _RECORDS.validate_json(cell.value)]
    except ValidationError as error:
        log.warning("cold_starts_left_out", subject=spend_subject(key), problem=str(error))
        return ()
