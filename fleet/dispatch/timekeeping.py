"""The time a dispatcher uses: the broker's, continued by a monotonic clock.

Breakers, buffers, quotas and limits measure intervals: a wall clock that is corrected in between must neither shut a
target for an hour nor end every job. Deadlines and the ages of jobs are counted from the broker's stamps, so its clock
is the one that counts. Each reading of the depths also brings the broker's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.logs import get_logger
from fleet.ports import Clock

log = get_logger(__name__)

TOLERANCE_SECONDS = 0.5
"""Difference between a cluster's servers up to which our time is not corrected back and forth."""

WARN_SECONDS = 2.0


class BrokerTime:
    """A `Clock` in unix seconds that runs evenly, except for corrections to the broker's time.

    It starts from the machine's clock. A given clock with its own `monotonic`, as tests have, is continued by that.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steady: Callable[[], float] = getattr(clock, "monotonic", time.monotonic)
        self._ahead = clock.now() - self._steady()
        self._warned = False

    def now(self) -> float:
        return self._steady() + self._ahead

    def heard(self, broker_at: float, asked_at: float, heard_at: float) -> float:
        """Take in the broker's time, stamped between these two of ours; return by how much ours was corrected."""
        off = min(0.0, broker_at - asked_at) + max(0.0, broker_at - heard_at)
        step = off if abs(off) > TOLERANCE_SECONDS else 0.0
        self._ahead += step
        skew = self._clock.now() - self.now()
        if abs(skew) > WARN_SECONDS and not self._warned:
            log.warning("clock_differs_from_the_brokers", ahead_seconds=round(skew, 1))
        self._warned = abs(skew) > WARN_SECONDS
        return step
