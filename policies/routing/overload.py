"""The decision that a target is too busy for a job: it would answer after the deadline.

Dispatchers measure sojourns; jobs that find a longer queue than those measured will take longer, and less once it has
drained. So a wave is seen as it comes in and not only once its first jobs are late, whoever else serves the queue.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.model.action import Run
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Work
from fleet.model.scaling import Capacity
from fleet.model.target import Target
from fleet.model.view import Sojourn, TargetView
from policies.rules.rules import Rules

Sent = Run | Work
"""A hand-over to a target."""

WEIGHT = 0.1
"""Weight of each new answer in the means: the last seven make up half of them."""

ENOUGH_ANSWERS = 20
"""Minimum answers in a lane before their sojourns say anything."""

STALE_SECONDS = 30.0
"""Age beyond which a sojourn says nothing: a target given up on would never be seen to have changed."""

STEEPEST = 3.0
"""Maximum factor by which a longer queue is expected to lengthen sojourns: jobs that run together share the time."""


def answered(before: Sojourn | None, seconds: float, run_seconds: float, found: float, now: float) -> Sojourn:
    """Return the means after one more answer, to a job that `found` so many jobs of its lane stored for the target."""
    if before is None:
        return Sojourn(seconds, 1, now, run_seconds, found)
    return Sojourn(
        before.seconds + WEIGHT * (seconds - before.seconds),
        before.answers + 1,
        now,
        before.run_seconds + WEIGHT * (run_seconds - before.run_seconds),
        before.found + WEIGHT * (found - before.found),
        before.waiting,
        before.turns_away,
    )


def seen(before: Sojourn, waiting: int, turns_away: bool) -> Sojourn:
    """Return the same means beside a newer look at the queue."""
    means = (before.seconds, before.answers, before.seen_at, before.run_seconds, before.found)
    return Sojourn(*means, waiting, turns_away)


def is_known(sojourn: Sojourn | None, now: float) -> bool:
    """Return whether there are enough answers, and new enough, to say how long jobs take."""
    return sojourn is not None and sojourn.answers >= ENOUGH_ANSWERS and now - sojourn.seen_at <= STALE_SECONDS


def expected_seconds(sojourn: Sojourn, target: Target, capacity: Capacity | None) -> float:
    """Return how long a job that is handed over now will take: as long as others, by the length of the queue.

    A queue no longer than what runs at once makes nobody wait.
    """
    at_once = target.max_in_flight
    if not target.is_cloud:
        at_once = target.batch_size * max(1, 1 if capacity is None else capacity.running)
    return sojourn.seconds * min(STEEPEST, max(sojourn.waiting, at_once) / max(sojourn.found, at_once))


def too_late(
    target: Target, job: Job, left_seconds: float, view: TargetView, now: float, rules: Rules, sent: Sent | None = None
) -> bool:
    """Return whether the target, known to be slow, would use up too much of the time that the job has left.

    A job that has been `sent` there has waited already: only its run is left.
    """
    sojourn, shares = view.sojourns.get(job.lane), rules.overload
    # At most this long; it decides nearly every case, and every job is asked about.
    if sojourn is None or STEEPEST * sojourn.seconds <= shares.return_at * left_seconds:
        return False
    if job.lane not in shares.lanes or not is_known(sojourn, now):
        return False
    if sent is not None and sent.target == target.name:
        return sojourn.run_seconds > shares.climb_at * left_seconds
    share = shares.return_at if sojourn.turns_away else shares.climb_at
    return expected_seconds(sojourn, target, view.capacity) > share * left_seconds


def climbed(sent: Sent | None) -> str | None:
    """Return the target that a job was sent to because an earlier one was overloaded, if it was."""
    return sent.target if sent is not None and sent.reason is Reason.OVERLOADED else None


def beginning_at(name: str, rungs: Iterable[Target]) -> Iterable[Target]:
    """Return the rungs in the order to try them for a job that has climbed to `name`: on from there, and not back.

    Its first target may be free again, but there it would wait once more, and with it all that climbed.
    """
    listed = list(rungs)
    place = next((place for place, target in enumerate(listed) if target.name == name), 0)
    return [*listed[place:], *listed[:place]]
