"""The bucket `turns`: each turn of the learning loop under its name, with what its steps found."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json

from fleet.model.turn import TURN_NAME, DoneStep, Turn, TurnStage, TurnStep
from queues.wire.record import TargetName, TenantName, Version, Written, read, writer

Name = Annotated[str, Field(pattern=f"^{TURN_NAME.pattern}$")]


class DoneStepRecord(Written):
    step: TurnStep
    at: float
    evidence: dict[str, Any]


class TurnRecord(Written):
    """A turn. Times are unix seconds."""

    schema_: Version
    name: Name
    target: TargetName
    task: str
    tenants: Annotated[list[TenantName], Field(min_length=1)]
    done: list[DoneStepRecord]
    stage: TurnStage
    why: str | None
    changed_at: float


_write = writer(Turn, TurnRecord, apart=("tenants", "done"))
_write_step = writer(DoneStep, DoneStepRecord)


def encode_turn(turn: Turn) -> bytes:
    apart = {"tenants": sorted(turn.tenants), "done": [_write_step(each) for each in turn.done]}
    return to_json(_write(turn) | apart, fallback=dict)


def decode_turn(body: bytes) -> Turn:
    """Return the turn in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    record: TurnRecord = read(TurnRecord, body, "turn")
    held = vars(record)
    del held["schema_"]
    done = tuple(DoneStep(**vars(each)) for each in record.done)
    return Turn(**{**held, "tenants": frozenset(record.tenants), "done": done})
