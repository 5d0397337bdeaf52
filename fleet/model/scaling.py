"""Scaling: a target's replicas, the load its dispatchers see coming, and the decision about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.model.delivery import WorkOf


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The seconds that a target is expected to take from no replica to its first one, and how many starts were seen."""

    seconds: float
    seen: int


@dataclass(frozen=True, slots=True)
class ObservedStart:
    """A start from no replica that took `seconds`, and was over at `ready_at` (unix seconds)."""

    seconds: float
    ready_at: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """The replicas of a self-hosted target at one moment.

    `starting_at` is when the first of the starting replicas began to start (unix seconds; None: none starts). `held`
    says that an operator keeps the number where it is: a cold target stays cold. `cold_start` is None where nobody
    learns: then the catalogue's guess holds.
    """

    running: int
    starting: int = 0
    starting_at: float | None = None
    held: bool = False
    cold_start: ColdStart | None = None

    @property
    def cold(self) -> bool:
        return self.running == 0


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """Work that one dispatcher sent to a target as the first choice in one lane: a decaying count, and means over it.

    A job that waits for the target because it is cold counts as well. `tokens_per_job` is prompt and answer together;
    `slack_seconds` the time left until the deadline at the hand-over.
    """

    jobs: float
    tokens_per_job: float
    slack_seconds: float


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process by the name of its machine and its number there; it began at `started_at` (unix seconds)."""

    host: str
    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Load:
    """A dispatcher's report, made at `at` (unix seconds).

    `tokens_done` counts the tokens of every answer since the dispatcher started, `tokens_missed` those of jobs that
    went elsewhere because the target was cold, and `tokens_running` estimates those of the jobs that run there now;
    all by target. `cpu_share` is of one core, since the report before. `serves` names the targets it takes work for
    (None: an older dispatcher, which does not say), `own_key_only` those that serve only a tenant's own key. `direct`
    counts the jobs that run without a message on WORK: the queue still counts them among the jobs of their lane.
    `shut` names the targets whose breaker lets no job through, and when it opens again (unix seconds). `process` is the
    dispatcher's own (None: an older dispatcher), `held` the number of jobs in its hands. `replicas` is what it read of
    Serve at `replicas_at`, which is None for a dispatcher outside Ray.
    """

    dispatcher: str
    at: float
    lanes: Mapping[WorkOf, LaneLoad] = field(default_factory=dict)
    tokens_done: Mapping[str, float] = field(default_factory=dict)
    tokens_running: Mapping[str, float] = field(default_factory=dict)
    tokens_missed: Mapping[str, float] = field(default_factory=dict)
    cpu_share: float = 0.0
    serves: frozenset[str] | None = None
    own_key_only: frozenset[str] = frozenset()
    direct: Mapping[WorkOf, int] = field(default_factory=dict)
    shut: Mapping[str, float] = field(default_factory=dict)
    process: ProcessName | None = None
    held: int = 0
    replicas: Mapping[str, Capacity] = field(default_factory=dict)
    replicas_at: float | None = None


class ScalingReason(StrEnum):
    """The reason for a target's number of replicas; the same word is in Serve's status, the log and the metric."""

    # up
    FIRST_WORK = "first_work"
    DEADLINE = "deadline"
    ARRIVALS = "arrivals"
    BACKLOG = "backlog"
    BELOW_LEAST = "below_least"
    # down
    IDLE = "idle"
    LESS_WORK = "less_work"
    ABOVE_MOST = "above_most"
    # as it is
    STEADY = "steady"
    SETTLING = "settling"
    STARTING = "starting"
    NOT_WORTH_A_START = "not_worth_a_start"
    AT_MOST = "at_most"
    BROKER_AWAY = "broker_away"


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The number of replicas to have, and the reason."""

    replicas: int
    reason: ScalingReason
