"""When the queue has handed out the same message too often.

A message that crashes whoever takes it comes back again and again, and only the broker's count tells. But that count
also grows with every wait. So two things keep a patient job from being taken for a poisonous one: nothing is held
against a job that is not about to run, and a wait that would bring the count to its limit continues in a new message,
which counts from one. A delayed job waits where it is, in portions whose number is known, and is allowed as many more.
"""

from __future__ import annotations

from math import ceil

from fleet.model.action import Action, Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from policies.rules import Rules

UNREADABLE_TRIES = 10
UNREADABLE_MOST_SECONDS = 60.0

LONGEST_WAIT_SECONDS = 3600.0
"""One portion of a delay. A clock that jumps, or a rule that changes, is noticed after that long."""


def enough(
    action: Action, deliveries: int, job: Job, attempts: tuple[Attempt, ...], rules: Rules
) -> Finish | GiveUp | None:
    """The end of a job whose message crashes whoever takes it; None while it has not been handed out that often.

    Only a `Run` is refused: a job that waits or ends does no harm.
    """
    if not isinstance(action, Run) or deliveries <= _allowed(job, rules):
        return None
    answered = [attempt for attempt in attempts if attempt.probe is None and isinstance(attempt.outcome, Answer)]
    if answered:
        return Finish(answered[-1].number, Status.BEST_EFFORT, Reason.TOO_MANY_DELIVERIES)
    problem = Problem(f"handed out {deliveries} times without coming to an end")
    return GiveUp(Status.FAILED, Reason.TOO_MANY_DELIVERIES, problem, dead=True)


def starts_anew(wait: Wait, deliveries: int, job: Job, rules: Rules) -> bool:
    """Whether the wait goes on in a new message, because the count of this one is at its limit."""
    return wait.reason is not Reason.DELAYED and deliveries >= _allowed(job, rules)


def _allowed(job: Job, rules: Rules) -> int:
    """At least two: a wait always comes before it goes on in a new message, which is handed out at once."""
    return max(2, rules.delivery.max_deliveries) + _portions(job)


def _portions(job: Job) -> int:
    """How many deliveries the job's own delay takes."""
    if job.not_before_at is None:
        return 0
    return ceil(max(0.0, job.not_before_at - job.submitted_at) / LONGEST_WAIT_SECONDS)


def unreadable_again_in(deliveries: int) -> float | None:
    """Seconds until work that this dispatcher cannot read is tried again, by a newer one perhaps; None: give it up.

    Doubling from one second, some six minutes in all: longer than a rolling upgrade leaves both versions running.
    """
    if deliveries >= UNREADABLE_TRIES:
        return None
    return min(2.0 ** (deliveries - 1), UNREADABLE_MOST_SECONDS)
