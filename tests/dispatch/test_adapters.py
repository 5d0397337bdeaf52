"""Adapters in a dispatcher: which answers whom, what is on record, and what follows where one cannot be used."""

from __future__ import annotations

from dataclasses import replace

import pytest
from patience import eventually
from structlog.testing import capture_logs

from fleet.dispatch.state.experiments import Trials
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter
from fleet.model.attempt import Failure, FailureKind
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Probe, Scorer, Threshold, ThresholdMode
from fleet.model.experiment import Arm, Experiment, Unit
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission
from fleet.model.target import ServedAdapters
from policies.experiments.arms import in_arm
from policies.experiments.checks import started
from policies.rules.sections import CacheMode
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.jetstream.stores.experiments import MemoryExperiments
from queues.memory import MemoryDesk

SMALL, TASK = "llama-8b", "classify.sentiment"
OLD, NEW, OTHER = (letter * 64 for letter in "abc")
BROKEN = Failure(FailureKind.ADAPTER, "the adapter cannot be loaded: there are no files of it")


class Registered(MemoryAdapters):
    """The adapters that a test registers, as their steps would leave them."""

    def tell(self, name: str, stable: str | None, tenant: str = "acme", **changes) -> None:
        aliases = {} if stable is None else {Alias.STABLE: stable}
        versions = tuple(AdapterVersion(digest, "0" * 64, 16, 1, 1.0) for digest in (OLD, NEW, OTHER))
        plain = RegisteredAdapter(name, SMALL, frozenset({TASK}), frozenset({tenant}), versions, aliases)
        self._messages[self.kind.subject(name)] = self.kind.encode(replace(plain, **changes))
        self._tell()


@pytest.fixture
def adapters(bench, with_target) -> Registered:
    with_target(SMALL, adapters=ServedAdapters(2))
    bench.adapters = Registered()
    return bench.adapters


async def submit(bench, number: int, tenant: str = "acme", **changes) -> str:
    request = {"messages": [{"role": "user", "content": f"All is well, {number}."}]}
    plain = {"lane": Lane.INTERACTIVE, "task": TASK, "request": request}
    submission = Submission(f"job-{number:016d}", **{**plain, **changes})
    await MemoryDesk(bench.broker, tenant).submit([submission])
    return submission.id


async def result(bench, job_id: str, tenant: str = "acme"):
    desk = MemoryDesk(bench.broker, tenant)
    while (found := await desk.result(job_id)) is None:
        await bench.broker.changed_once()
    return found


async def answered(bench, number: int, tenant: str = "acme", **changes):
    return await result(bench, await submit(bench, number, tenant, **changes), tenant)


def asked_for(backend) -> list[list[str | None]]:
    return [[call.adapter for call in batch] for batch in backend.batches]


async def test_each_tenants_jobs_get_its_adapter_and_all_others_the_base_in_one_batch(
    bench, adapters, sure, with_target
):
    with_target(SMALL, batch_size=4, batch_wait_seconds=60.0)
    small = bench.backend(SMALL, sure, open_gate=False)
    adapters.tell("own", OLD)
    adapters.tell("birchs", NEW, tenant="birch")
    async with bench.running():
        first = await submit(bench, 0, "cedar")
        await small.begun.wait()
        tenants = ("acme", "birch", "acme", "cedar")
        jobs = [(await submit(bench, number, tenant), tenant) for number, tenant in enumerate(tenants, 1)]
        await eventually(lambda: len(small.batches) == 2)
        small.gate.set()
        found = [await result(bench, *job) for job in jobs]
        assert (await result(bench, first, "cedar")).attempts[0].adapter is None
    assert [each.attempts[0].adapter for each in found] == [OLD, NEW, OLD, None]
    together = asked_for(small)[1]
    assert together in ([OLD, OLD, NEW, None], [OLD, OLD, None, NEW], [NEW, OLD, OLD, None], [None, OLD, OLD, NEW])
    assert [line["attempt"].get("adapter") for line in bench.ledger()].count(OLD) == 2


async def test_a_job_of_a_task_without_an_adapter_asks_for_none(bench, adapters, sure):
    small = bench.backend(SMALL, sure)
    adapters.tell("own", OLD, tasks=frozenset({"classify.intent"}))
    async with bench.running():
        assert (await answered(bench, 1)).attempts[0].adapter is None
    assert asked_for(small) == [[None]]


async def test_a_target_that_takes_no_adapters_is_asked_for_none(bench, adapters, with_target, sure):
    with_target(SMALL, adapters=None)
    small = bench.backend(SMALL, sure)
    adapters.tell("own", OLD)
    async with bench.running():
        await answered(bench, 1)
    assert asked_for(small) == [[None]]


async def test_a_roll_back_counts_from_the_next_call_on(bench, adapters, sure):
    bench.backend(SMALL, sure)
    adapters.tell("own", NEW)
    async with bench.running() as dispatcher:
        before = await answered(bench, 1)
        adapters.tell("own", OLD)
        await eventually(lambda: dispatcher._parts.state.adapters.named == {OLD})
        after = await answered(bench, 2)
        adapters.tell("own", None)
        await eventually(lambda: not dispatcher._parts.state.adapters.named)
        at_last = await answered(bench, 3)
    assert [each.attempts[0].adapter for each in (before, after, at_last)] == [NEW, OLD, None]


async def test_a_job_whose_adapter_cannot_be_used_is_answered_by_the_base_at_once(bench, adapters, sure):
    small = bench.backend(SMALL, lambda call: sure(call) if call.adapter is None else BROKEN)
    adapters.tell("own", OLD)
    with capture_logs() as logged:
        async with bench.running():
            first, second = await answered(bench, 1), await answered(bench, 2)
            bench.broker.ahead_seconds += 61.0
            third = await answered(bench, 3)
    assert [(each.target, each.reason, each.adapter) for each in first.attempts] == [
        (SMALL, Reason.ROUTED, OLD),
        (SMALL, Reason.ADAPTER_FAILED, None),
    ]
    assert (first.status, first.target) == (Status.SUCCEEDED, SMALL)
    assert [len(each.attempts) for each in (second, third)] == [1, 2]
    assert asked_for(small) == [[OLD], [None], [None], [OLD], [None]]
    assert [event["digest"] for event in logged if event["event"] == "adapter_not_used"] == [OLD]


async def test_a_job_that_an_adapter_has_failed_goes_on_without_any(bench, adapters, sure, unsure, with_target):
    with_target("llama-70b", adapters=ServedAdapters(2))
    bench.backend(SMALL, lambda call: unsure(call) if call.adapter is None else BROKEN)
    large = bench.backend("llama-70b", sure)
    adapters.tell("own", OLD)
    adapters.tell("large", NEW, target="llama-70b")
    async with bench.running():
        failed, next_one = await answered(bench, 1), await answered(bench, 2)
    assert [each.adapter for each in failed.attempts] == [OLD, None, None]
    assert [each.adapter for each in next_one.attempts] == [None, NEW]
    assert asked_for(large) == [[None], [NEW]]


async def test_an_adapter_that_works_again_is_used_again_and_its_next_failure_is_news(bench, adapters, sure):
    works: list[bool] = []
    bench.backend(SMALL, lambda call: sure(call) if call.adapter is None or works else BROKEN)
    adapters.tell("own", OLD)
    with capture_logs() as logged:
        async with bench.running():
            await answered(bench, 1)
            works.append(True)
            bench.broker.ahead_seconds += 61.0
            found = [await answered(bench, number) for number in (2, 3)]
            works.clear()
            await answered(bench, 4)
    assert [each.attempts[-1].adapter for each in found] == [OLD, OLD]
    assert [event["event"] for event in logged].count("adapter_not_used") == 2


async def test_a_broken_adapter_does_not_shut_its_target(bench, adapters, sure):
    bench.backend(SMALL, lambda call: sure(call) if call.adapter is None else BROKEN)
    adapters.tell("own", OLD)
    failures = bench.rules.breaker.failures
    async with bench.running() as dispatcher:
        for number in range(failures + 1):
            await answered(bench, number)
            bench.broker.ahead_seconds += 61.0
        assert dispatcher._parts.state.shut(SMALL, bench.broker.now()) == (False, False)


async def test_a_second_look_asks_the_adapter_that_answered_though_another_is_stable_since(
    bench, adapters, sure, unsure
):
    rules = replace(bench.rules.confidence, probes={TASK: Probe.P_TRUE}, grey_width=1.0)
    bench.rules = replace(bench.rules, confidence=rules)
    asked: list[str | None] = []

    def script(call):
        asked.append(call.adapter)
        adapters.tell("own", NEW)
        return unsure(call) if len(asked) == 1 else sure(call)

    bench.backend(SMALL, script), bench.backend("llama-70b", sure)
    adapters.tell("own", OLD)
    async with bench.running():
        found = await answered(bench, 1)
    assert asked[:2] == [OLD, OLD]
    assert [(each.probe, each.adapter) for each in found.attempts[:2]] == [(None, OLD), (Probe.P_TRUE, OLD)]


async def test_an_arm_tries_a_candidate_on_its_jobs_alone(bench, adapters, sure):
    trial = Experiment("trial", Unit.TENANT, (Arm("candidate", 1.0, adapter=NEW),), tenants=frozenset({"acme"}))
    store = MemoryExperiments(bench.broker)
    bench.trials = Trials(store, lambda experiment, arm: in_arm(bench.rules, experiment, arm))
    await store.change(lambda there: started(trial, there.values(), bench.broker.now()))
    bench.backend(SMALL, sure)
    adapters.tell("own", OLD, tenants=None, aliases={Alias.STABLE: OLD, Alias.CANDIDATE: NEW})
    async with bench.running():
        in_it, outside = await answered(bench, 1), await answered(bench, 2, "birch")
    assert (in_it.attempts[0].adapter, outside.attempts[0].adapter) == (NEW, OLD)


async def test_under_a_promise_of_the_base_an_adapters_answers_escalate_until_it_has_one_of_its_own(
    bench, adapters, sure
):
    rules = replace(bench.rules.confidence, mode=ThresholdMode.GUARANTEE)
    bench.rules = replace(bench.rules, confidence=rules)
    bench.backend(SMALL, sure), bench.backend("llama-70b", sure)
    target = bench.rules.catalogue.targets[SMALL]

    def calibrated(adapter: str) -> Calibration:
        threshold = Threshold(ThresholdMode.GUARANTEE, 0.0, 0.0, 0.05, 0.1)
        of = (target.model, target.revision, target.logprobs_mode, f"v-{adapter[:1]}", 1.0, 300)
        scorer = Scorer(Fit.PLATT, ("min_logit",), (0.0,), 0.0)
        return Calibration(CalibrationKey(SMALL, adapter=adapter), *of, scorer, threshold=threshold)

    await bench.calibrations.put([calibrated("")])
    adapters.tell("own", OLD)
    async with bench.running() as dispatcher:
        base, escalated = await answered(bench, 1, "birch"), await answered(bench, 2)
        await bench.calibrations.put([calibrated(OLD)])
        await eventually(lambda: len(dispatcher._parts.knowledge.calibrations) == 2)
        kept = await answered(bench, 3)
        assert {key.adapter for key in dispatcher.snapshot().calibrations} == {"", OLD}
        adapters.tell("own", None)
        await eventually(lambda: {key.adapter for key in dispatcher.snapshot().calibrations} == {""})
    assert [len(each.attempts) for each in (base, escalated, kept)] == [1, 2, 1]
    assert [each.attempts[0].judged.calibration for each in (base, escalated, kept)] == ["v-", None, f"v-{OLD[:1]}"]


async def test_an_answer_of_an_adapter_that_was_rolled_back_is_not_given_again(bench, adapters, sure):
    tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], cache=CacheMode.ANY)}
    bench.rules = replace(bench.rules, tasks=tasks)
    small = bench.backend(SMALL, sure)
    adapters.tell("own", OLD)
    same = {"request": {"messages": [{"role": "user", "content": "All is well."}]}}
    async with bench.running() as dispatcher:
        await answered(bench, 1, **same)
        again = await answered(bench, 2, **same)
        adapters.tell("own", None)
        await eventually(lambda: not dispatcher._parts.state.adapters.named)
        await answered(bench, 3, **same)
        of_base = await answered(bench, 4, **same)
    assert (again.target, of_base.target) == ("exact", "exact")
    assert asked_for(small) == [[OLD], [None]]


async def test_a_micro_batch_has_only_so_many_adapters_and_the_rest_goes_with_the_next(
    bench, adapters, sure, with_target
):
    with_target(SMALL, adapters=ServedAdapters(1), max_in_flight=8, batch_size=8)
    small = bench.backend(SMALL, sure, open_gate=False)
    adapters.tell("own", OLD)
    adapters.tell("birchs", NEW, tenant="birch")
    async with bench.running():
        jobs = [(await submit(bench, number, tenant), tenant) for number, tenant in enumerate(["acme", "birch"] * 4)]
        small.gate.set()
        for job in jobs:
            await result(bench, *job)
    assert all(len(set(batch) - {None}) <= 1 for batch in asked_for(small))
    assert sorted(adapter for batch in asked_for(small) for adapter in batch) == [OLD] * 4 + [NEW] * 4
