"""The time a dispatcher goes by: the broker's, carried on by a monotonic clock.

Breakers, buffers, quotas and limits measure intervals: a wall clock that is set right in between must neither shut a
target for an hour nor end every job. Deadlines and the ages of jobs are counted from the broker's stamps, so its clock
is the one that counts. Each reading of the depths brings the broker's time along.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from fleet.ports import Clock

log = structlog.get_logger(__name__)

TOLERANCE_SECONDS = 0.5
"""Servers of a cluster may differ by as much without our time going to and fro."""

WARN_SECONDS = 2.0


class BrokerTime:
    """`Clock` in unix seconds. It runs evenly, but for corrections where the broker's time says otherwise.

    The machine's clock is only where it starts. One with a `monotonic` of its own, as tests have, is carried on by it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steady: Callable[[], float] = getattr(clock, "monotonic", time.monotonic)
        self._ahead = clock.now() - self._steady()
        self._warned = False

    def now(self) -> float:
        return self._steady() + self._ahead

    def heard(self, broker_at: float, asked_at: float, heard_at: float) -> float:
        """Take in the broker's time, stamped at some moment between these two of our own; by how much ours was set."""
        off = min(0.0, broker_at - asked_at) + max(0.0, broker_at - heard_at)
        step = off if abs(off) > TOLERANCE_SECONDS else 0.0
        self._ahead += step
        skew = self._clock.now() - self.now()
        if abs(skew) > WARN_SECONDS and not self._warned:
            log.warning("clock_differs_from_the_brokers", ahead_seconds=round(skew, 1))
        self._warned = abs(skew) > WARN_SECONDS
        return step
