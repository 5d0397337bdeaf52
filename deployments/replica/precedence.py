"""Lets an engine's interactive requests run without the others: those yield, for a while, and keep what they have.

A step of the engine takes longer the more requests it computes. Where bulk fills the engine, an interactive request
would be as slow as all of them together, however early it starts. vLLM's own priorities decide only who waits; here
the requests of the other lanes also sit out the steps in which an interactive one is computed. Their tokens so far and
their memory stay, so nothing is computed twice.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import RequestStatus

from fleet.model.call import PRIORITY
from fleet.model.job import Lane

URGENT = PRIORITY[Lane.INTERACTIVE]

MAX_OWED_SECONDS = 1.0
"""Time for which the others may sit out beyond what they then had to themselves: a burst of interactive jobs is over
by then, and of a steady stream the others still get half of the engine's time."""


STARTABLE = (RequestStatus.WAITING, RequestStatus.PREEMPTED)
"""What a request is that waits for nothing but its turn."""


class Owed:
    """The time that the others have sat out, less the time they have run since; never below 0."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0
        self._sitting_out = False

    def step(self, now: float, wanted: bool) -> bool:
        """Return whether the others sit out the step that begins now, in seconds of a monotonic clock."""
        passed = now - self._since
        self.seconds = max(0.0, self.seconds + (passed if self._sitting_out else -passed))
        self._since = now
        self._sitting_out = wanted and self.seconds < MAX_OWED_SECONDS
        return self._sitting_out


class _Precedence(Scheduler):  # type: ignore[misc]  # vLLM's types are not followed
    """The addition to both schedulers of vLLM. The interface is vLLM's own and not public: its version is pinned."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_num_running_reqs: int
        self._owed = Owed()

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        urgent = [request for request in self.requests.values() if request.priority <= URGENT]
        coming = sum(request.status in STARTABLE for request in urgent)
        others = [request for request in self.running if request.priority > URGENT]
        computed = len(self.running) - len(others) + coming
        room = len(self.running) + coming <= self.max_num_running_reqs
        if not self._owed.step(time.monotonic(), room and computed > 0 and len(urgent) < len(self.requests)):
            return super().schedule(throttle_prefills)
        for request in others:
            # `schedule` counts the step first: this is the next but one.
            request.next_decode_eligible_step = max(request.next_decode_eligible_step, self.current_step + 2)
        most, self.max_num_running_reqs = self.max_num_running_reqs, len(self.running) + coming
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_running_reqs = most


class LaneScheduler(_Precedence):
    """Schedules one step after the other."""


class AsyncLaneScheduler(_Precedence, AsyncScheduler):  # type: ignore[misc]  # vLLM's types are not followed
    """Schedules a step while the one before runs."""


def scheduler_for(asynchronous: bool) -> type[Scheduler]:
    """Return the class that stands in for vLLM's own."""
    return AsyncLaneScheduler if asynchronous else LaneScheduler
