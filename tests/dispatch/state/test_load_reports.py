"""What a dispatcher reports of its load, how often, and what an outage of the broker does to it: nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from patience import PATIENCE_SECONDS, eventually
from structlog.testing import capture_logs

from fleet.dispatch.decide import Decider
from fleet.dispatch.intake import fair_lane
from fleet.dispatch.state import load
from fleet.dispatch.state.load import HALF_LIFE_JOBS, Loads, Reporter
from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane, Plan
from fleet.model.result import Status
from fleet.model.scaling import LaneLoad, Load, ProcessName
from fleet.settings.documents import load_rules
from policies.features.needs import tokens_of

SMALL, LARGE = "llama-8b", "mixtral-8x7b"
RULES = load_rules(None, None, "local")
NOW = 1_000.0
REQUEST = {"messages": [{"role": "user", "content": "All is well."}], "max_tokens": 100}
ESTIMATE = tokens_of(REQUEST, RULES.estimates)


def job(lane: Lane = Lane.BULK, left_seconds: float = 60.0) -> Job:
    return Job("j" * 16, "acme", lane, "chat", Plan.PAID, REQUEST, NOW, deadline_at=NOW + left_seconds)


def answer(tokens: int) -> Answer:
    return Answer({"role": "assistant", "content": "so"}, "stop", Usage(tokens - 1, 1), "scripted")


def report(loads: Loads, running: dict[WorkOf, int] | None = None) -> Load:
    return loads.report("a1", NOW, running or {}, 0.5)


def test_jobs_count_for_the_target_they_want_first_with_the_means_over_them():
    loads = Loads(RULES)
    for left_seconds in (100.0, 300.0):
        loads.wanted(job(left_seconds=left_seconds), SMALL, NOW)
    found = report(loads).lanes[WorkOf(SMALL, Lane.BULK)]
    assert found.jobs == pytest.approx(2, rel=0.01)
    assert found.tokens_per_job == pytest.approx(ESTIMATE)
    assert found.slack_seconds == pytest.approx(200, rel=0.01)


def test_a_deadline_far_beyond_its_lane_does_not_hide_the_others():
    loads = Loads(RULES)
    for left_seconds in [60.0] * 99 + [1e10]:
        loads.wanted(job(Lane.INTERACTIVE, left_seconds=left_seconds), SMALL, NOW)
    seen = report(loads).lanes[WorkOf(SMALL, Lane.INTERACTIVE)]
    assert seen.slack_seconds == pytest.approx(RULES.lane_seconds[Lane.INTERACTIVE])


def test_of_what_was_wanted_before_half_is_forgotten_after_a_half_life_and_all_in_the_end():
    loads = Loads(RULES)
    for _ in range(10_000):
        loads.wanted(job(), SMALL, NOW)
    before = report(loads).lanes[WorkOf(SMALL, Lane.BULK)].jobs
    for _ in range(int(HALF_LIFE_JOBS)):
        loads.wanted(job(), LARGE, NOW)
    lanes = report(loads).lanes
    assert lanes[WorkOf(SMALL, Lane.BULK)].jobs == pytest.approx(before / 2)
    for _ in range(10_000):
        loads.wanted(job(), LARGE, NOW)
    assert set(report(loads).lanes) == {WorkOf(LARGE, Lane.BULK)}


def test_a_lane_forgets_nothing_for_the_jobs_of_another():
    loads = Loads(RULES)
    loads.wanted(job(Lane.STANDARD), SMALL, NOW)
    for _ in range(1_000):
        loads.wanted(job(), SMALL, NOW)
    assert report(loads).lanes[WorkOf(SMALL, Lane.STANDARD)] == LaneLoad(1.0, ESTIMATE, 60.0)


def test_estimates_are_corrected_by_what_answers_really_used():
    loads, bulk = Loads(RULES), WorkOf(SMALL, Lane.BULK)
    loads.wanted(job(), SMALL, NOW)
    for _ in range(3):
        loads.answered(job(), SMALL, answer(tokens=2 * ESTIMATE), probe=False)
    found = report(loads, running={bulk: 5})
    assert found.lanes[bulk].tokens_per_job == pytest.approx(2 * ESTIMATE)
    assert found.tokens_running == {SMALL: pytest.approx(10 * ESTIMATE)}
    loads.missed(job(), SMALL)
    assert report(loads).tokens_missed == {SMALL: pytest.approx(2 * ESTIMATE)}


def test_second_looks_count_as_done_and_correct_nothing():
    loads = Loads(RULES)
    loads.wanted(job(), SMALL, NOW)
    loads.answered(job(), SMALL, answer(tokens=7), probe=True)
    found = report(loads)
    assert found.tokens_done == {SMALL: 7}
    assert found.lanes[WorkOf(SMALL, Lane.BULK)].tokens_per_job == pytest.approx(ESTIMATE)


@pytest.mark.parametrize(("used", "expected"), [((40, 60), 50.0), ((), RULES.estimates.output_tokens)])
def test_what_runs_where_no_job_goes_first_is_estimated_by_its_answers(used: Sequence[int], expected: float):
    loads = Loads(RULES)
    for tokens in used:
        loads.answered(job(), LARGE, answer(tokens), probe=False)
    running = report(loads, running={WorkOf(LARGE, Lane.BULK): 2}).tokens_running
    assert running == {LARGE: pytest.approx(2 * expected, rel=0.01)}


@dataclass
class Bookkeeper:
    """A book, the clocks, and what there is to report."""

    reports: list[Load] = field(default_factory=list)
    lanes: dict[WorkOf, LaneLoad] = field(default_factory=dict)
    time: float = NOW
    cpu: float = 50.0
    away: bool = False
    held: int = 0
    replicas_at: float = NOW

    def said(self) -> list[tuple[bool, int]]:
        """Whether work is taken, and how many jobs are held, by report."""
        return [(bool(each.serves), each.held) for each in self.reports]

    async def report(self, load: Load) -> None:
        if self.away:
            raise QueueUnavailable("the broker is away")
        self.reports.append(load)

    async def read(self) -> Sequence[Load]:
        return self.reports

    def now(self) -> float:
        return self.time

    def reporter(self) -> Reporter:
        def make(dispatcher: str, at: float, cpu_share: float) -> Load:
            return Load(
                dispatcher,
                at,
                dict(self.lanes),
                cpu_share=cpu_share,
                serves=frozenset({SMALL}),
                held=self.held,
                replicas_at=self.replicas_at,
            )

        return Reporter(self, make, self, RULES, lambda: self.cpu)


async def test_news_is_reported_at_once_and_without_news_only_to_keep_the_report_fresh():
    keeper = Bookkeeper()
    reporter = keeper.reporter()
    fresh_seconds = RULES.scaling.stale_seconds / 2
    for after_seconds in (0.0, 1.0, fresh_seconds - 0.1, fresh_seconds, fresh_seconds + 1.0):
        keeper.time = NOW + after_seconds
        await reporter.report()
    keeper.lanes[WorkOf(SMALL, Lane.BULK)] = LaneLoad(1.0, 2.0, 3.0)
    await reporter.report()
    assert [each.at - NOW for each in keeper.reports] == [0.0, fresh_seconds, fresh_seconds + 1.0]


async def test_the_share_of_a_core_is_that_since_the_report_before():
    keeper = Bookkeeper()
    reporter = keeper.reporter()
    for seconds, cpu_seconds in ((2.0, 1.0), (10.0, 1.0)):
        keeper.time += seconds
        keeper.cpu += cpu_seconds
        await reporter.report()
    assert [each.cpu_share for each in keeper.reports] == [0.5, 0.1]


async def test_a_report_names_the_process_and_what_was_read_of_serve_is_no_news_by_its_time_alone():
    keeper = Bookkeeper()
    reporter = keeper.reporter()
    for _ in range(2):
        await reporter.report()
        keeper.time, keeper.replicas_at = keeper.time + 1.0, keeper.time + 1.0
    [report] = keeper.reports
    assert report.process == ProcessName(socket.gethostname(), os.getpid(), NOW)


async def test_a_dispatcher_that_drains_reports_what_it_still_holds_until_nothing_is_left(monkeypatch):
    monkeypatch.setattr(load, "REPORT_SECONDS", 0.001)
    keeper = Bookkeeper(held=3)
    reporter, stop, done = keeper.reporter(), asyncio.Event(), asyncio.Event()
    await reporter.report()
    running = asyncio.create_task(reporter.run(stop, done))
    stop.set()
    assert await eventually(lambda: keeper.said() == [(True, 3), (False, 3)])
    keeper.held = 1
    assert await eventually(lambda: keeper.said()[-1] == (False, 1))
    keeper.held = 0
    done.set()
    await running
    assert keeper.said()[-1] == (False, 0)


async def test_every_process_has_an_id_of_its_own_and_keeps_it():
    keeper = Bookkeeper()
    first, second = keeper.reporter(), keeper.reporter()
    for _ in range(2):
        keeper.time += 60.0
        await first.report()
        await second.report()
    ids = [each.dispatcher for each in keeper.reports]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


async def test_a_dispatcher_reports_what_it_had_to_do(bench, sure, monkeypatch):
    monkeypatch.setattr(load, "REPORT_SECONDS", 0.01)
    bench.backend(SMALL, sure)
    ids = [*await bench.submit(3), *await bench.submit(2, Lane.BULK)]
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
        found = await bench.loads.until(lambda each: each.tokens_done.get(SMALL) == 5 * 12 and not each.tokens_running)
    assert {work: round(each.jobs) for work, each in found.lanes.items()} == {
        WorkOf(SMALL, Lane.INTERACTIVE): 3,
        WorkOf(SMALL, Lane.BULK): 2,
    }
    assert [each.tokens_per_job for each in found.lanes.values()] == [pytest.approx(12)] * 2
    slack_seconds = found.lanes[WorkOf(SMALL, Lane.INTERACTIVE)].slack_seconds
    assert 0 < slack_seconds <= bench.rules.deadlines.interactive_seconds


async def test_a_job_counts_once_however_often_it_is_looked_at(bench, sure, with_target, monkeypatch):
    monkeypatch.setattr(fair_lane, "LOOK_AGAIN_SECONDS", 0.0)
    with_target(SMALL, max_in_flight=1, batch_size=1)
    bench.backend(SMALL, sure, open_gate=False)
    bench.backend(LARGE, sure)  # has room, so more is taken than the small one has room for
    counted, looked_at, often = Counter(), Counter(), asyncio.Event()

    def wanted(self, job, target, now):
        counted[job.id] += 1

    def look(self, inflight, view, now, plain=Decider.action):
        looked_at[inflight.job.id] += 1
        if looked_at[inflight.job.id] > 3:
            often.set()
        return plain(self, inflight, view, now)

    monkeypatch.setattr(Loads, "wanted", wanted)
    monkeypatch.setattr(Decider, "action", look)
    await bench.submit(9, Lane.BULK, request={**REQUEST, "model": SMALL})
    async with bench.running(), asyncio.timeout(PATIENCE_SECONDS):
        await often.wait()
    assert counted == dict.fromkeys(looked_at, 1)


async def test_without_the_broker_reports_are_given_up_and_everything_else_goes_on(bench, sure, monkeypatch):
    monkeypatch.setattr(load, "REPORT_SECONDS", 0.001)
    bench.backend(SMALL, sure)
    bench.loads.away = True
    with capture_logs() as logs:
        async with bench.running():
            for _ in range(3):
                await bench.loads.next_try()
            [job_id] = await bench.submit()
            assert (await bench.result(job_id)).status is Status.SUCCEEDED
            bench.loads.away = False
            assert (await bench.loads.until(lambda each: bool(each.lanes))).lanes
    assert [line["event"] for line in logs].count("load_not_reported") == 1
