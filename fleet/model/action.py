"""The next step of a job: the five values that `policies.plan.next_action` may return."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.attempt import Answer, Cached, Usage
from fleet.model.caching import Near
from fleet.model.calibration import Probe
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class Run:
    """Run the job on `target` now; with a `probe`, only a second look at the last answer."""

    target: str
    reason: Reason
    probe: Probe | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after `seconds`; the job waits in the queue of `target`."""

    target: str
    seconds: float
    reason: Reason


@unguarded
@dataclass(frozen=True, slots=True)
class Finish:
    """Deliver the answer of attempt number `attempt`; `status` is succeeded or best_effort."""

    attempt: int
    status: Status
    reason: Reason


@unguarded
@dataclass(frozen=True, slots=True)
class GiveUp:
    """End without an answer. `dead` asks for a dead letter beside the result."""

    status: Status
    reason: Reason
    problem: Problem
    dead: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Reply:
    """Deliver an answer that is known without a call. `target` says where from: no target of the catalogue.

    `cached` is set where another job got that answer before, `avoided` where nobody did, `near` where that job's
    question was only alike: see `Attempt`.
    """

    target: str
    answer: Answer
    reason: Reason
    cached: Cached | None = None
    avoided: Usage | None = None
    near: Near | None = None


Action = Run | Wait | Finish | GiveUp | Reply
