"""What a WORK message holds, as JSON: checked before it is unpacked, so that nothing of another shape gets further.

It is the fleet's own, but a dispatcher of another version may have written it, and a message that ended the process
would come back to the next one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from queues.wire.schema import VERSION, JobId, TargetName, TenantName

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


WITH_MORE = ConfigDict(extra="allow")
"""Fields not named here are carried on: a later version may know them."""


class _Message(TypedDict, total=False):
    __pydantic_config__ = WITH_MORE  # type: ignore[misc]  # where pydantic looks for it
    content: str | None


class _Judged(TypedDict):
    threshold: Finite | None
    kind: str
    calibration: str | None
    guard: str | None
    withdrawn: bool
    probe: str | None
    unfamiliar: NotRequired[bool]


_Features = tuple[float, float, float, float, float, int, float, float]


class _Attempt(TypedDict):
    __pydantic_config__ = WITH_MORE  # type: ignore[misc]
    number: int
    target: str
    reason: str
    started_at: Finite
    ended_at: Finite
    confidence: Finite | None
    cost_usd: Finite
    judged: NotRequired[_Judged | None]
    probe: NotRequired[str | None]
    repeated: NotRequired[bool]
    answer: NotRequired[tuple[_Message, str, Count, Count, str, _Features | None]]
    failure: NotRequired[tuple[str, str, Finite | None]]


class Packed(TypedDict):
    __pydantic_config__ = WITH_MORE  # type: ignore[misc]
    schema: Annotated[int, Field(ge=VERSION, le=VERSION)]
    id: JobId
    tenant: TenantName
    lane: Literal["interactive", "standard", "bulk"]
    task: str
    tier: str | None
    plan: str
    deadline_at: Finite | None
    not_before_at: NotRequired[Finite | None]
    max_cost_usd: Finite | None
    cloud: list[str] | None
    own_key: str | None
    above: NotRequired[str | None]
    metadata: dict[str, str]
    submitted_at: Finite
    request: dict[str, Any]
    target: TargetName
    reason: str
    hop: Count
    shadow: NotRequired[tuple[str, str, int, Finite] | None]
    attempts: list[_Attempt]


PACKED = TypeAdapter(Packed)
