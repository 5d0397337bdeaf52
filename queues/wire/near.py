"""What the semantic cache had nearest to a job's question, as JSON: LEDGER tells of it, WORK carries it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fleet.model.caching import Near
from policies.caching.signals import SIGNALS
from queues.wire.record import Fields, Written, writer

RequestKey = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class NearRecord(Written):
    """The nearest question in the cache: the key of its entry, and the signals of its answer by this encoder.

    `signals` are cosine, margin, vote, words, content, guard, exchange. `same` is there where a model answered as well,
    and says whether both answers are the same; `propensity` is the probability with which a model was to answer.
    `verified` is the probability that both questions have the same answer, by the model `verifier`, if it was asked.
    """

    entry: RequestKey
    encoder: str
    signals: Annotated[tuple[float, ...], Field(max_length=64)]
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None
    same: bool | None = None
    verifier: str | None = None
    verified: Annotated[float, Field(ge=0, le=1)] | None = None


_write_near = writer(Near, NearRecord)


def near_record(near: Near) -> Fields:
    return {name: value for name, value in _write_near(near).items() if value is not None}


def read_near(record: NearRecord | None) -> Near | None:
    """Return what was near; None also where another version has other signals, for a job must not fail for it."""
    return None if record is None or len(record.signals) != len(SIGNALS) else Near(**vars(record))
