"""What becomes of a webhook after an attempt, and when the next one is made: the schedule of Standard Webhooks."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0

SCHEDULE_SECONDS = (5.0, 300.0, 1800.0, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds from each failed attempt to the next: ten attempts, the last some three days after the first.

Source: the Standard Webhooks specification, "Deliverability and reliability".
"""

JITTER = 0.2
"""Maximum part by which a wait is longer, so that what failed together does not come back together."""

MOST_RETRY_AFTER_SECONDS = 24 * HOUR
"""Maximum wait that a receiver may ask for."""

PAUSE_SECONDS = 30.0
"""Seconds that an endpoint gets nothing after it was too busy, unless it said how long."""

GONE = 410
BUSY = frozenset({429, 502, 504})
"""Statuses by which a receiver asks to be sent less."""


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """The end of an attempt: a status, or the `problem` in one word. `retry_after_seconds` is what was asked for."""

    status: int | None = None
    retry_after_seconds: float | None = None
    problem: str | None = None

    @property
    def is_success(self) -> bool:
        """Return whether the event has arrived. A redirect has not: nobody follows it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def reason(self) -> str:
        return self.problem or f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The event has arrived."""


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """The event is sent again at `due_at`; nothing at all is sent to its endpoint for `pause_seconds`."""

    due_at: float
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class NoMoreAttempts:
    """All attempts have failed: the event will not arrive."""


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """The endpoint said that it is gone: it is sent nothing any more."""


Verdict = Arrived | NextAttempt | NoMoreAttempts | EndpointGone


def after_attempt(attempt: int, reply: WebhookReply, now: float, jitter: float) -> Verdict:
    """Return what follows from attempt number `attempt`, counted from 1. `jitter` is drawn from 0 to 1."""
    if reply.is_success:
        return Arrived()
    if reply.status == GONE:
        return EndpointGone()
    if attempt > len(SCHEDULE_SECONDS):
        return NoMoreAttempts()
    wait_seconds = SCHEDULE_SECONDS[attempt - 1] * (1 + JITTER * jitter)
    asked = min(max(reply.retry_after_seconds or 0.0, 0.0), MOST_RETRY_AFTER_SECONDS)
    pause_seconds = (asked or PAUSE_SECONDS) if reply.status in BUSY else 0.0
    return NextAttempt(now + max(wait_seconds, asked), pause_seconds)


def look_again_seconds(waited_seconds: float) -> float:
    """Return when to look again for the result of a job that somebody has waited for so long.

    An event is late by at most an eighth of the time its job took, and by half a minute.
    """
    return min(30.0, max(0.25, waited_seconds / 8))
