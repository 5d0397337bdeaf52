"""Whose time a dispatcher goes by, and what clocks that are wrong, or are set right, do to its jobs: nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.timekeeping import BrokerTime
from fleet.model.attempt import Failure, FailureKind
from fleet.model.job import Lane
from fleet.model.result import Status

TARGET = "llama-8b"
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}


@dataclass
class Wall:
    """A machine's clock that is set by hand, beside one that only runs."""

    wall: float = 1_000.0
    steady: float = 5.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class WallOnly:
    """All that a clock has to have."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def now(self) -> float:
        return time.time() + self.ahead


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_a_step_of_the_machines_clock_is_no_step_of_ours(step):
    wall = Wall()
    ours = BrokerTime(wall)
    wall.pass_by(10.0)
    wall.wall += step
    wall.pass_by(1.0)
    assert ours.now() == pytest.approx(1_011.0)


@pytest.mark.parametrize("ahead", [31.0, -31.0])
def test_the_brokers_time_is_taken_over_and_the_difference_warned_of_once(ahead):
    wall = Wall(1_000.0 + ahead)
    ours = BrokerTime(wall)
    with capture_logs() as logs:
        for _ in range(3):
            ours.heard(1_000.0 + wall.steady - 5.0, ours.now(), ours.now())
            wall.pass_by(1.0)
    assert ours.now() == pytest.approx(1_003.0)
    assert [(line["event"], line["ahead_seconds"]) for line in logs] == [("clock_differs_from_the_brokers", ahead)]


def test_a_stamp_within_the_time_that_the_question_took_changes_nothing():
    wall = Wall()
    ours = BrokerTime(wall)
    asked_at = ours.now()
    wall.pass_by(8.0)  # a slow answer
    ours.heard(1_001.0, asked_at, ours.now())
    assert ours.now() == pytest.approx(1_008.0)


def with_clock(bench, monkeypatch, clock):
    """Let the next dispatcher have a clock of its own; the broker keeps the right time."""
    plain = Dispatcher.__init__

    def build(self, queue, backends, rules, _, *rest, **kept):
        plain(self, queue, backends, rules, clock, *rest, **kept)

    monkeypatch.setattr(Dispatcher, "__init__", build)


@pytest.mark.parametrize("ahead", [31.0, -31.0, 7_200.0])
async def test_jobs_without_a_deadline_of_their_own_are_answered_whatever_the_machines_clock_says(
    bench, sure, monkeypatch, ahead
):
    bench.backend(TARGET, sure)
    with_clock(bench, monkeypatch, WallOnly(ahead))
    ids = [*await bench.submit(5), *await bench.submit(5, Lane.STANDARD)]
    async with bench.running():
        results = [await bench.result(job_id) for job_id in ids]
    assert {each.status for each in results} == {Status.SUCCEEDED}
    assert all(abs(each.finished_at - bench.broker.now()) < 60 for each in results)


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
async def test_a_breaker_closes_in_its_time_though_the_clock_was_set_in_between(bench, sure, monkeypatch, step):
    sick = asyncio.Event()
    sick.set()
    down = Failure(FailureKind.SERVER_ERROR, "down")
    bench.backend(TARGET, lambda call: down if sick.is_set() else sure(call))
    clock = Wall(bench.broker.now(), 0.0)
    with_clock(bench, monkeypatch, clock)
    ids = await bench.submit(8, Lane.STANDARD, request={**REQUEST, "model": TARGET}, deadline_at=clock.wall + 80_000)
    async with bench.running() as dispatcher:
        breakers = dispatcher._parts.state
        while breakers.view().targets[TARGET].breaker.open_until_at <= dispatcher._time.now():
            await bench.broker.changed_once()
        sick.clear()
        clock.wall += step
        assert breakers.view().targets[TARGET].breaker.open_until_at - dispatcher._time.now() < 600
        bench.broker.ahead_seconds += 600.0
        clock.pass_by(600.0)
        bench.broker.wake()
        results = [await bench.result(job_id) for job_id in ids]
    assert Status.SUCCEEDED in {each.status for each in results}


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
@pytest.mark.parametrize(
    "failure",
    [Failure(FailureKind.SERVER_ERROR, "down"), Failure(FailureKind.RATE_LIMITED, "slowly", retry_after_seconds=60.0)],
)
async def test_a_target_opens_in_its_time_though_the_brokers_clock_was_set_in_between(
    bench, sure, monkeypatch, step, failure
):
    bench.backend(TARGET, lambda call: failure)
    clock = Wall(bench.broker.now(), 0.0)
    with_clock(bench, monkeypatch, clock)
    await bench.submit(8, Lane.STANDARD, request={**REQUEST, "model": TARGET}, deadline_at=clock.wall + 80_000)
    async with bench.running() as dispatcher:
        state, ours = dispatcher._parts.state, dispatcher._time

        def shut_seconds() -> float:
            return state.view().targets[TARGET].breaker.open_until_at - ours.now()

        while shut_seconds() <= 0:
            await bench.broker.changed_once()
        shut_before, before = shut_seconds(), ours.now()
        bench.broker.ahead_seconds += step
        while abs(ours.now() - before) < 3_000.0:
            await bench.broker.changed_once()
        assert shut_seconds() == pytest.approx(shut_before, abs=60.0)
