"""Bounds what one endpoint takes of a process, so that a target that hangs or is slow keeps nobody else waiting."""

from __future__ import annotations

from policies.webhooks import WebhookReply

SLOTS = 4
"""Attempts at once for an endpoint that answers. One that fails gets one at a time until it answers again."""

FIRST_SECONDS = 0.1
"""The assumed time of an attempt before there was one."""

WEIGHT = 0.2
"""The weight of the latest attempt in the average time of one."""

LEAST_SECONDS = 0.05
MOST_SECONDS = 3600.0
"""Bounds of the time for which a delivery is put off when all slots are taken."""


class Pace:
    """The attempts of one endpoint, by a monotonic clock.

    Deliveries that find no slot are put off, each to the time when it has its turn.
    """

    def __init__(self) -> None:
        self._running = 0
        self._answers = True
        self._seconds = FIRST_SECONDS
        self._paused_until = 0.0
        self._planned_until = 0.0

    def begin(self, now: float) -> float:
        """Take a slot and return 0, or return for how many seconds to put the delivery off."""
        slots = SLOTS if self._answers else 1
        if self._running < slots and now >= self._paused_until:
            self._running += 1
            return 0.0
        turn = max(self._planned_until, self._paused_until, now) + self._seconds / slots
        self._planned_until = min(turn, now + MOST_SECONDS)
        return max(LEAST_SECONDS, self._planned_until - now)

    def end(self, reply: WebhookReply, seconds: float) -> None:
        """Give the slot back after an attempt that took so long."""
        self._running -= 1
        self._answers = reply.is_success
        self._seconds += WEIGHT * (seconds - self._seconds)

    def pause(self, until: float) -> None:
        """Begin nothing before then."""
        self._paused_until = max(self._paused_until, until)

    def is_idle(self, now: float) -> bool:
        return not self._running and now >= max(self._paused_until, self._planned_until)
