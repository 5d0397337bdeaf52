"""Interactive jobs beside a flood of bulk jobs: what is left to them, and what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from jobs_in_flight import in_flight

from fleet.dispatch.receiving import precedence
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.state.traffic import Traffic
from fleet.model.delivery import AnyDelivery, Depths, JobsOf, Source, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity
from fleet.settings.documents import load_rules
from policies.fairness.bursts import WINDOW_SECONDS
from queues.memory import MemoryQueue

TARGET = "llama-8b"
SLOTS, BATCH, KEPT = 64, 4, 8
NEVER_SECONDS = 600.0
RULES = load_rules(None, None, "local")


class WatchedQueue(MemoryQueue):
    """A queue that remembers how many jobs each take asked for and brought; `on_take` is called with both."""

    def __init__(self, broker) -> None:
        super().__init__(broker)
        self.asked: list[tuple[Source, int, int]] = []
        self.on_take = lambda source, deliveries: None

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        deliveries = await super().take(source, limit, wait_seconds)
        self.asked.append((source, limit, len(deliveries)))
        self.on_take(source, deliveries)
        return deliveries

    def limits(self, lane: Lane) -> list[int]:
        """How many jobs the takes that brought some asked for."""
        return [limit for source, limit, came in self.asked if source == WorkOf(TARGET, lane) and came]


@pytest.fixture
def flood(bench, sure, with_target):
    """A target whose slots are all that bulk may fill, for as long as the gate of its backend is shut."""
    with_target(TARGET, max_in_flight=SLOTS, batch_size=BATCH, batch_wait_seconds=0.0)
    return bench.backend(TARGET, sure, open_gate=False)


async def _until_bulk_is_full(bench, backend) -> None:
    while backend.running < SLOTS - KEPT:
        await bench.broker.changed_once()


async def test_a_runner_takes_all_jobs_that_can_start_at_once_and_a_batch_to_follow(bench, flood):
    queue = WatchedQueue(bench.broker)
    await bench.submit(2 * SLOTS, Lane.BULK)
    async with bench.running(queue):
        await _until_bulk_is_full(bench, flood)
    assert queue.limits(Lane.BULK)[0] == SLOTS - KEPT + BATCH


async def test_a_runner_takes_one_batch_for_a_target_without_replicas(bench, flood):
    queue = WatchedQueue(bench.broker)
    bench.replicas(llama_8b=Capacity(0))
    await bench.submit(SLOTS, Lane.BULK)
    async with bench.running(queue):
        while not queue.limits(Lane.BULK):
            await bench.broker.changed_once()
    assert queue.limits(Lane.BULK)[0] == BATCH


async def test_bulk_answers_that_come_while_an_interactive_job_is_on_its_way_are_concluded_after_it_has_started(
    bench, flood, monkeypatch
):
    queue, concluded_before = WatchedQueue(bench.broker), []
    monkeypatch.setattr(precedence, "GIVE_WAY_SECONDS", NEVER_SECONDS)
    monkeypatch.setattr(precedence, "NEXT_STEP_SECONDS", NEVER_SECONDS)

    def taken(source: Source, deliveries: Sequence[AnyDelivery]) -> None:
        if deliveries and source == JobsOf(Lane.INTERACTIVE, "acme"):
            flood.gate.set()  # all bulk answers come at once

    def script(call):
        if call.request["messages"][0]["content"] == "urgent":
            concluded_before.append(len(bench.broker.stored("results")))
            monkeypatch.undo()
        return sure(call)

    sure, flood.script, queue.on_take = flood.script, script, taken
    bulk = await bench.submit(SLOTS - KEPT, Lane.BULK)
    async with bench.running(queue):
        await _until_bulk_is_full(bench, flood)
        [urgent] = await bench.submit(request={"messages": [{"role": "user", "content": "urgent"}]})
        for job_id in (urgent, *bulk):
            await bench.result(job_id)
    assert concluded_before == [0]


def _traffic(running: int, interactive: int = 0) -> Traffic:
    """The traffic of a target with so many bulk jobs running and so many interactive jobs stored for it."""
    target = RULES.catalogue.targets[TARGET]
    traffic = Traffic([replace(target, max_in_flight=SLOTS)], RULES.estimates)
    traffic.started(TARGET, [in_flight(str(n), TARGET) for n in range(running)])
    traffic.read(Depths(work={WorkOf(TARGET, Lane.INTERACTIVE): interactive}), traffic.moved())
    return traffic


@pytest.mark.parametrize(("coming", "expected"), [(0, 16), (8, 16), (12, 12), (20, 4), (1000, 3)])
def test_slots_that_come_free_are_kept_for_interactive_jobs_on_their_way(coming: int, expected: int) -> None:
    free: Mapping[Lane, int] = _traffic(40, coming).free(TARGET, 5.0)
    assert (free[Lane.INTERACTIVE], free[Lane.BULK], free[Lane.STANDARD]) == (24, expected, expected)


def test_slots_are_kept_for_a_burst_like_the_last_one_until_it_is_long_over() -> None:
    traffic = _traffic(40, 12)
    assert traffic.free(TARGET, 5.0)[Lane.BULK] == 12
    traffic.read(Depths(), traffic.moved())
    assert traffic.free(TARGET, 5.0 + WINDOW_SECONDS)[Lane.BULK] == 12
    assert traffic.free(TARGET, 5.0 + 3 * WINDOW_SECONDS)[Lane.BULK] == 16


def test_interactive_jobs_sent_a_moment_ago_are_on_their_way_before_a_reading_shows_them() -> None:
    traffic = _traffic(40)
    for _ in range(12):
        traffic.sending(WorkOf(TARGET, Lane.INTERACTIVE), "acme")
    assert traffic.free(TARGET, 5.0)[Lane.BULK] == 12


def test_slots_kept_for_jobs_on_their_way_are_looked_at_again_since_another_dispatcher_may_run_these() -> None:
    assert _traffic(40).opens_in(TARGET, 5.0) is None
    assert _traffic(40, 1).opens_in(TARGET, 5.0) is not None


def test_a_target_is_short_of_slots_only_until_enough_jobs_are_about_to_leave() -> None:
    traffic = _traffic(56, 20)
    assert not _traffic(56, 8).is_short(TARGET)
    assert traffic.is_short(TARGET)
    with traffic.leaving(TARGET, 12):
        assert not traffic.is_short(TARGET)
    assert traffic.is_short(TARGET)


async def test_other_lanes_wait_for_every_step_of_an_interactive_job(monkeypatch) -> None:
    monkeypatch.setattr(precedence, "GIVE_WAY_SECONDS", NEVER_SECONDS)
    first = Precedence()
    with first.step(Lane.INTERACTIVE):
        with first.step(Lane.INTERACTIVE):
            waiting = asyncio.create_task(first.give_way(Lane.BULK))
            await first.give_way(Lane.INTERACTIVE)
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    await first.give_way(Lane.STANDARD)


async def test_steps_of_other_lanes_make_nobody_wait(monkeypatch) -> None:
    monkeypatch.setattr(precedence, "GIVE_WAY_SECONDS", NEVER_SECONDS)
    first = Precedence()
    with first.step(Lane.BULK), first.step(Lane.STANDARD):
        await first.give_way(Lane.BULK)


async def test_no_stream_of_interactive_jobs_holds_the_other_lanes_for_ever() -> None:
    first = Precedence()
    with first.step(Lane.INTERACTIVE):
        await first.give_way(Lane.BULK)


async def test_a_step_that_fails_is_over(monkeypatch) -> None:
    monkeypatch.setattr(precedence, "GIVE_WAY_SECONDS", NEVER_SECONDS)
    first = Precedence()
    with pytest.raises(ZeroDivisionError), first.step(Lane.INTERACTIVE):
        raise ZeroDivisionError
    await first.give_way(Lane.BULK)


async def test_those_that_waited_go_on_one_by_one_so_that_the_next_interactive_step_waits_for_one_of_them(
    monkeypatch,
) -> None:
    monkeypatch.setattr(precedence, "GIVE_WAY_SECONDS", NEVER_SECONDS)
    first, passed, begun, again = Precedence(), list[str](), asyncio.Event(), asyncio.Event()

    async def wait(name: str) -> None:
        await first.give_way(Lane.BULK)
        passed.append(name)
        if name == "a":
            with first.step(Lane.INTERACTIVE):
                begun.set()
                await again.wait()

    with first.step(Lane.INTERACTIVE):
        tasks = [asyncio.create_task(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
    await begun.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert passed == ["a"]
    again.set()
    await asyncio.gather(*tasks)
    assert passed == ["a", "b", "c"]
