"""When a job is suspected of crashing whoever runs it, and when it is taken for the one that does.

The broker counts how often it has handed out a message. That count also grows with every wait, and with every crash of
a neighbour. So it only makes a suspect, whose calls are put on record before they begin: the first in company, the
second in a small group, and further ones alone. Only calls that were begun so, and never ended, count against a job.
What crashes a dispatcher before any call begins is ended by the broker's count after all, when that is far beyond
what neighbours can do. A wait that would bring the count to its limit continues in a new message, which counts from
one. A delayed job waits where it is, in portions whose number is known, and is allowed as many more.

Before anybody has read a message, its count is all that is known of it. One that came back too often is read, and
decided on, with a reading on record as well: in company, and then alone.
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
"""One portion of a delay. A clock that jumps, or a rule that changes, is noticed after that long."""


SUSPECT_DELIVERIES = SEALED_BEYOND
"""A job handed out more often has been in two crashes: rarely twice by chance."""

GROUP_CALL = 2
GROUP_JOBS = 8
"""Suspects that make their second recorded call together: of a crowd all but these are cleared by one crash."""

MOST_CALLS = 4
"""Recorded calls of one attempt, the last two of them alone."""

MOST_READINGS = 3
"""Recorded readings of one message, the first in company: what two alone have crashed is not read any more."""

LAST_RESORT = 10
"""Times the limit, after which a message is given up whose job crashes nobody when it is read, and gets to no call."""


def is_suspect(deliveries: int, job: Job) -> bool:
    """Whether the job's next call is put on record, for it may be the one that crashes whoever makes it."""
    return deliveries > SUSPECT_DELIVERIES + _portions(job)


def enough(
    action: Action, deliveries: int, job: Job, attempts: tuple[Attempt, ...], rules: Rules
) -> Finish | GiveUp | None:
    """The end of a job whose message crashes whoever takes it; None while it has not been handed out that often.

    Only a `Run` is refused: a job that waits or ends does no harm.
    """
    if not isinstance(action, Run) or deliveries <= LAST_RESORT * _allowed(job, rules):
        return None
    return too_many(deliveries, attempts)


def too_many(deliveries: int, attempts: tuple[Attempt, ...]) -> Finish | GiveUp:
    """The end of a job that crashes whoever runs it: with the answer it has, if any."""
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
