"""The engine's scheduler with vLLM's own step scripted: who may be computed in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from when_used import WhenUsed

from fleet.model.call import PRIORITY
from fleet.model.job import Lane

precedence = WhenUsed("deployments.replica.precedence")
schedulers = WhenUsed("vllm.v1.core.sched.scheduler")
async_schedulers = WhenUsed("vllm.v1.core.sched.async_scheduler")
requests = WhenUsed("vllm.v1.request")

MAX_RUNNING = 8


class Clock:
    """A monotonic clock that is moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Bed:
    """A scheduler that holds requests; every step notes the lanes of those that vLLM would compute or admit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr("deployments.replica.precedence.time", self.clock)
        monkeypatch.setattr(schedulers.Scheduler, "schedule", lambda scheduler, throttle: self._step(scheduler))
        self.scheduler = precedence.LaneScheduler.__new__(precedence.LaneScheduler)
        vars(self.scheduler).update(requests={}, running=[], current_step=0, max_num_running_reqs=MAX_RUNNING)
        self.scheduler._owed = precedence.Owed()

    def add(self, lane: Lane, status: str = "RUNNING") -> SimpleNamespace:
        request = SimpleNamespace(
            lane=lane, priority=PRIORITY[lane], status=requests.RequestStatus[status], next_decode_eligible_step=0
        )
        self.scheduler.requests[str(len(self.scheduler.requests))] = request
        if status == "RUNNING":
            self.scheduler.running.append(request)
        return request

    def _step(self, scheduler: Any) -> tuple[list[Lane], list[Lane]]:
        """Return the lanes of running requests that are computed, and of those that are admitted, as vLLM does."""
        scheduler.current_step += 1
        computed = [each.lane for each in scheduler.running if scheduler.current_step >= each.next_decode_eligible_step]
        waiting = [each for each in scheduler.requests.values() if each.status in precedence.STARTABLE]
        room = scheduler.max_num_running_reqs - len(scheduler.running)
        return computed, [each.lane for each in sorted(waiting, key=lambda each: each.priority)[:room]]

    def step(self, seconds: float = 0.01) -> tuple[list[Lane], list[Lane]]:
        found = self.scheduler.schedule()
        self.clock.now += seconds
        return found


@pytest.fixture
def bed(monkeypatch):
    return Bed(monkeypatch)


@pytest.mark.parametrize("lane", [Lane.STANDARD, Lane.BULK])
def test_the_other_lanes_sit_out_the_steps_of_an_interactive_request_and_no_more(bed, lane):
    bed.add(lane)
    urgent = bed.add(Lane.INTERACTIVE)
    assert bed.step() == ([Lane.INTERACTIVE], [])
    assert bed.step() == ([Lane.INTERACTIVE], [])
    urgent.priority = PRIORITY[Lane.BULK]  # it is over
    assert bed.step()[0] == [lane, Lane.INTERACTIVE]


def test_an_interactive_request_is_admitted_and_no_other_with_it(bed):
    bed.add(Lane.BULK)
    bed.add(Lane.BULK, "WAITING")
    bed.add(Lane.INTERACTIVE, "WAITING")
    assert bed.step() == ([], [Lane.INTERACTIVE])
    assert bed.scheduler.max_num_running_reqs == MAX_RUNNING


def test_without_interactive_requests_everyone_runs(bed):
    bed.add(Lane.BULK)
    bed.add(Lane.STANDARD)
    bed.add(Lane.BULK, "WAITING")
    assert bed.step() == ([Lane.BULK, Lane.STANDARD], [Lane.BULK])


def test_a_full_engine_goes_on_so_that_room_is_made(bed):
    for _ in range(MAX_RUNNING):
        bed.add(Lane.BULK)
    bed.add(Lane.INTERACTIVE, "WAITING")
    assert bed.step() == ([Lane.BULK] * MAX_RUNNING, [])


def test_nobody_sits_out_for_a_request_that_cannot_be_computed_yet(bed):
    bed.add(Lane.BULK)
    bed.add(Lane.INTERACTIVE, "WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR")
    assert bed.step() == ([Lane.BULK], [])


def test_a_steady_stream_of_interactive_requests_leaves_the_others_half_of_the_time(bed):
    bed.add(Lane.BULK)
    bed.add(Lane.INTERACTIVE)
    steps = [Lane.BULK in bed.step(0.1)[0] for _ in range(1000)]
    first = steps.index(True)
    assert first * 0.1 == pytest.approx(precedence.MAX_OWED_SECONDS, abs=0.11)
    assert sum(steps[first:]) / len(steps[first:]) == pytest.approx(0.5, abs=0.01)


def test_what_is_owed_is_forgiven_while_the_others_run():
    owed = precedence.Owed()
    assert owed.step(100.0, wanted=True)
    assert owed.step(100.4, wanted=False) is False
    assert owed.seconds == pytest.approx(0.4)
    owed.step(100.5, wanted=False)
    assert owed.seconds == pytest.approx(0.3)
    owed.step(999.0, wanted=False)
    assert owed.seconds == 0.0


def test_the_scheduler_is_the_one_that_vllm_would_take():
    assert issubclass(precedence.scheduler_for(asynchronous=True), async_schedulers.AsyncScheduler)
    assert not issubclass(precedence.scheduler_for(asynchronous=False), async_schedulers.AsyncScheduler)
    assert precedence.scheduler_for(asynchronous=True) is precedence.AsyncLaneScheduler
