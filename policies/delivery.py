"""When the queue has handed out the same message too often."""

from __future__ import annotations

from fleet.model.action import Finish, GiveUp
from fleet.model.attempt import Answer, Attempt
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status
from policies.rules import Rules

UNREADABLE_TRIES = 10
UNREADABLE_MOST_SECONDS = 60.0


def enough(deliveries: int, attempts: tuple[Attempt, ...], rules: Rules) -> Finish | GiveUp | None:
    """The end of a job whose message crashes whoever takes it; None while it has not been handed out that often."""
    if deliveries <= rules.delivery.max_deliveries:
        return None
    answered = [attempt for attempt in attempts if attempt.probe is None and isinstance(attempt.outcome, Answer)]
    if answered:
        return Finish(answered[-1].number, Status.BEST_EFFORT, Reason.TOO_MANY_DELIVERIES)
    problem = Problem(f"handed out {deliveries} times without coming to an end")
    return GiveUp(Status.FAILED, Reason.TOO_MANY_DELIVERIES, problem, dead=True)


def renewed(deliveries: int, rules: Rules) -> bool:
    """Whether a job that waits on purpose is to go on in a new message: it must not pass for one that crashes us."""
    return deliveries >= rules.delivery.max_deliveries


def unreadable_again_in(deliveries: int) -> float | None:
    """Seconds until work that this dispatcher cannot read is tried again, by a newer one perhaps; None: give it up.

    Doubling from one second, some six minutes in all: longer than a rolling upgrade leaves both versions running.
    """
    if deliveries >= UNREADABLE_TRIES:
        return None
    return min(2.0 ** (deliveries - 1), UNREADABLE_MOST_SECONDS)
