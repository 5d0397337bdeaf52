"""A submission: a job on its way in, before the queue has stored it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleet.model.job import ChatRequest, Lane, Plan, Tier


@dataclass(frozen=True, slots=True)
class Submission:
    """A publisher's job as the fields of wire schema v1. `deadline_at` and `not_before_at` are unix seconds.

    `cloud` is "allow", "deny" or the providers that may be used.
    """

    id: str
    task: str
    request: ChatRequest
    lane: Lane = Lane.STANDARD
    plan: Plan = Plan.PAID
    tier: Tier | None = None
    deadline_at: float | None = None
    max_cost_usd: float | None = None
    cloud: str | Sequence[str] = "allow"
    own_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    above: str | None = None
    not_before_at: float | None = None
