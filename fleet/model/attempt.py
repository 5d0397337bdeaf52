"""An attempt: one try of one job on one target, with its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import chain, repeat
from typing import Any

from fleet.model.caching import Near
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.diet import Diet
from fleet.model.reason import Reason
from fleet.model.unguarded import unguarded


def restore(value: Any, state: Iterable[Any], missing: Any) -> None:
    """Set the fields of a pickled value: a replica of an earlier version sends the first ones alone."""
    for each, sent in zip(fields(value), chain(state, repeat(missing)), strict=False):
        object.__setattr__(value, each.name, sent)


class FailureKind(StrEnum):
    """Reasons why a target gave no answer; every backend maps its own errors onto these.

    AUTHENTICATION is a key that is no good, ACCOUNT what its account may not do: no credit, no such model for it.
    ADAPTER is an adapter that the model could not load; the model itself is well.
    """

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
    ACCOUNT = "account"
    ADAPTER = "adapter"
    INTERNAL = "internal"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


@unguarded
@dataclass(frozen=True, slots=True)
class Features:
    """Statistics of an answer from the engine's token log-probabilities (natural log).

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


@unguarded
@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call, as its server counts them; all zero is unknown.

    `cached_input_tokens` were read from the server's cache and `cache_write_tokens` written to it: both are part of
    `input_tokens`. `reasoning_tokens` were thought and not said: they are part of `output_tokens`. Of the tokens
    written, `cache_write_1h_tokens` are kept for an hour, which has a price of its own.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Usage)))

    @property
    def answer_tokens(self) -> int:
        """The tokens of the answer itself."""
        return self.output_tokens - self.reasoning_tokens

    def __setstate__(self, state: Iterable[int]) -> None:
        restore(self, state, missing=0)


@dataclass(frozen=True, slots=True)
class Limit:
    """A provider's limit: the amount `left`, and the time until it is whole again."""

    left: int
    resets_in_seconds: float


@dataclass(frozen=True, slots=True)
class Headroom:
    """A provider's limits for the whole account, no matter who uses it; None where the provider did not report one."""

    requests: Limit | None = None
    tokens: Limit | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class EngineTimes:
    """The times of a request inside an engine of the fleet's own, as the engine measured them.

    `arrived_at` is unix seconds by the replica's clock. The first token came `first_token_seconds` after that; the
    request waited `queue_seconds` of them for its turn, and then its prompt was read for `prefill_seconds`. The tokens
    after the first took `decode_seconds`.
    """

    arrived_at: float
    first_token_seconds: float
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float


@unguarded
@dataclass(frozen=True, slots=True)
class Answer:
    """A model's reply. `message` is an OpenAI assistant message; `model` is what the backend says it ran.

    `headroom` is no part of the answer: only the dispatcher that made the call sees it. `engine` is there where one of
    the fleet's own engines measured it.
    """

    message: Mapping[str, Any]
    finish_reason: str
    usage: Usage
    model: str
    features: Features | None = None
    headroom: Headroom | None = field(default=None, compare=False, repr=False)
    engine: EngineTimes | None = None

    def __setstate__(self, state: Iterable[Any]) -> None:
        restore(self, state, missing=None)

    @property
    def text(self) -> str:
        """The text of the reply; empty where the model only called tools."""
        return self.message.get("content") or ""


@unguarded
@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a reply. `detail` is one line fit for a result: no prompt, no key. For `headroom` see `Answer`."""

    kind: FailureKind
    detail: str
    retry_after_seconds: float | None = None
    headroom: Headroom | None = field(default=None, compare=False, repr=False)


Outcome = Answer | Failure


@unguarded
@dataclass(frozen=True, slots=True)
class Judged:
    """The judgement of an answer; it travels with the attempt, so that every process decides on it alike.

    `threshold` is the confidence it needs, infinity where none is enough; `calibration` the version that gave both
    (None: an uncalibrated score). `guard` says why the cascade is off here, `withdrawn` that a promise was taken
    back, `probe` which second look would settle the matter. `unfamiliar`: the calibration that would cover it has no
    labels of such a task or text, so the confidence is the raw score and nothing is claimed.
    """

    threshold: float
    kind: OutputKind
    calibration: str | None = None
    guard: Guard | None = None
    withdrawn: bool = False
    probe: Probe | None = None
    unfamiliar: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Hop:
    """The way of a message from the queue into a dispatcher's hands; times are unix seconds.

    The broker stored it at `stored_at`, and a dispatcher took it at `taken_at` to go on with it, as its delivery number
    `deliveries`. It then ran in the micro-batch `batch`, 16 hex digits, with `batch_size` jobs in all.
    """

    stored_at: float
    taken_at: float
    deliveries: int = 1
    batch: str | None = None
    batch_size: int = 0


@unguarded
@dataclass(frozen=True, slots=True)
class Cached:
    """Where an answer from a cache comes from: job `job_id`, answered by `target` at `answered_at` (unix seconds).

    `usage` is what it took then.
    """

    job_id: str
    target: str
    answered_at: float
    usage: Usage


@unguarded
@dataclass(frozen=True, slots=True)
class Attempt:
    """A try of a job on a target. `number` counts from 1 within the job; times are unix seconds.

    `confidence` is the probability that the answer is good, `None` where there is no answer
    or no way to tell; `reason` says why this target was tried. An attempt with a `probe` is a second look
    at the answer before it: its `confidence` is that answer's, seen with the new evidence. `repeated`: a paid call
    that a dispatcher began before, and may have been charged for, without finishing. `region` is the target's, where
    the catalogue states one; `provider` and `requested_model` say who was asked for which model. `hop` is how the
    message of the run came to it. Attempts of earlier versions lack these three. `cached` says where an answer comes
    from that no model gave this time. `avoided` estimates the tokens that a model would have taken for an answer that
    is written down; those of a cached one are known. `diet` is what its call left out of the job's request, `near` what
    the semantic cache had nearest, where it was asked. `adapter` is the digest of the adapter that the model answered
    with; None: by its own weights alone.
    """

    number: int
    target: str
    reason: Reason
    started_at: float
    ended_at: float
    outcome: Outcome
    confidence: float | None = None
    cost_usd: float = 0.0
    judged: Judged | None = None
    probe: Probe | None = None
    repeated: bool = False
    region: str | None = None
    provider: str | None = None
    requested_model: str | None = None
    hop: Hop | None = None
    cached: Cached | None = None
    avoided: Usage | None = None
    diet: Diet | None = None
    near: Near | None = None
    adapter: str | None = None
