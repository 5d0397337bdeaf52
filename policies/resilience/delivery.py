"""The suspicion that a job crashes the dispatchers that run it, and the verdict that it does.

The broker counts how often it has handed out a message. That count also grows with every wait, and with every crash of
a neighbour. So it only makes a job a suspect, whose calls are recorded before they begin: the first in company, the
second in a small group, and further ones alone. Only recorded calls that never ended count against a job. A job that
crashes a dispatcher before any call begins is ended by the broker's count after all, once that is far beyond what
neighbours can cause. A wait that would bring the count to its limit continues in a new message, which counts from one.
A delayed job waits where it is, in portions whose number is known, and is allowed as many more.

Before anybody has read a message, only its count is known. One that came back too often is read and decided on with a
recorded reading as well: in company, and then alone.
"""

from __future__ import annotations

from math import ceil

from fleet.model.action import Action, Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt
from fleet.model.delivery import SEALED_BEYOND
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from policies.rules.rules import Rules

UNREADABLE_TRIES = 10
UNREADABLE_MOST_SECONDS = 60.0

LONGEST_WAIT_SECONDS = 3600.0
"""Seconds of one portion of a delay: a clock that jumps, or a rule that changes, is noticed after that long."""


SUSPECT_DELIVERIES = SEALED_BEYOND
"""Deliveries beyond which a job has been in two crashes: rarely twice by chance."""

GROUP_CALL = 2
GROUP_JOBS = 8
"""Number of suspects that make their second recorded call together: one crash clears all others of a crowd."""

MOST_CALLS = 4
"""Maximum recorded calls of one attempt, the last two of them alone."""

MOST_READINGS = 3
"""Maximum recorded readings of one message, the first in company: after crashing two alone it is not read again."""

LAST_RESORT = 10
"""Multiple of the limit after which a message is given up whose job is read without a crash, but gets to no call."""


def is_suspect(deliveries: int, job: Job) -> bool:
    """Return whether the job's next call is put on record, because it may crash its dispatcher."""
    return deliveries > SUSPECT_DELIVERIES + _portions(job)


def enough(
    action: Action, deliveries: int, job: Job, attempts: tuple[Attempt, ...], rules: Rules
) -> Finish | GiveUp | None:
    """Return the end of a job whose message crashes every dispatcher; None below that number of deliveries.

    Only a `Run` is refused: a job that waits or ends does no harm.
    """
    if not isinstance(action, Run) or deliveries <= LAST_RESORT * _allowed(job, rules):
        return None
    return too_many(deliveries, attempts)


def too_many(deliveries: int, attempts: tuple[Attempt, ...]) -> Finish | GiveUp:
    """Return the end of a job that crashes its dispatchers: with the answer it has, if any."""
    answered = [attempt for attempt in attempts if attempt.probe is None and isinstance(attempt.outcome, Answer)]
    if answered:
        return Finish(answered[-1].number, Status.BEST_EFFORT, Reason.TOO_MANY_DELIVERIES)
    problem = Problem(f"handed out {deliveries} times without coming to an end")
    return GiveUp(Status.FAILED, Reason.TOO_MANY_DELIVERIES, problem, dead=True)


def starts_anew(wait: Wait, deliveries: int, job: Job, rules: Rules) -> bool:
    """Return whether the wait continues in a new message, because the count of this one is at its limit."""
    return wait.reason is not Reason.DELAYED and deliveries >= _allowed(job, rules)


def _allowed(job: Job, rules: Rules) -> int:
    """Return the deliveries allowed: at least two, so that a new message, handed out at once, waits before the next."""
    return max(2, rules.delivery.max_deliveries) + _portions(job)


def _portions(job: Job) -> int:
    """Return how many deliveries the job's own delay takes."""
    if job.not_before_at is None:
        return 0
    return ceil(max(0.0, job.not_before_at - job.submitted_at) / LONGEST_WAIT_SECONDS)


def unreadable_again_in(deliveries: int) -> float | None:
    """Return seconds until work that this dispatcher cannot read is retried, perhaps by a newer one; None: give it up.

    They double from one second, some six minutes in all: longer than a rolling upgrade leaves both versions running.
    """
    if deliveries >= UNREADABLE_TRIES:
        return None
    return min(2.0 ** (deliveries - 1), UNREADABLE_MOST_SECONDS)
