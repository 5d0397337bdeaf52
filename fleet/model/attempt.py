"""An attempt: one try of one job on one target, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.model.reason import Reason


class FailureKind(StrEnum):
    """Why a target gave no answer; every backend maps its own errors onto these."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"
    CONTENT_FILTER = "content_filter"
    CONTEXT_TOO_LONG = "context_too_long"
    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Features:
    """What the engine's token log-probabilities (natural log) say about an answer.

    Aggregated over the generated tokens where the model runs, so that a handful of numbers
    crosses the wire. `margin` is the mean gap between the best two tokens' log-probabilities and
    `entropy` the mean entropy in nats over the best few tokens returned by the engine.
    """

    sum: float
    mean: float
    min: float
    q10: float
    q25: float
    count: int
    margin: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's reply. `message` is an OpenAI assistant message; `model` is what the backend says it ran."""

    message: Mapping[str, Any]
    finish_reason: str
    usage: Usage
    model: str
    features: Features | None = None

    @property
    def text(self) -> str:
        """What the model said; empty where it only called tools."""
        return self.message.get("content") or ""


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply. `detail` is one line fit for a result: no prompt, no key."""

    kind: FailureKind
    detail: str
    retry_after_seconds: float | None = None


Outcome = Answer | Failure


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. `number` counts from 1 within the job; times are unix seconds.

    `confidence` is the probability that the answer is good, `None` where there is no answer
    or no way to tell; `reason` says why this target was tried.
    """

    number: int
    target: str
    reason: Reason
    started_at: float
    ended_at: float
    outcome: Outcome
    confidence: float | None = None
    cost_usd: float = 0.0
