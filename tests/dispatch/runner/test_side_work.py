"""What is done beside a job (comparisons, second looks, watching for drift) never costs the job anything."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from structlog.testing import capture_logs

from fleet.dispatch import comparing
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.knowledge import WITHDRAWN, Knowledge, Learned
from fleet.dispatch.state.state import FleetState
from fleet.model.attempt import Answer, Attempt, Failure, Features, Usage
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Guard, Probe, Scorer
from fleet.model.delivery import Delivery, Retry, Stored, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane, Plan
from fleet.model.money import Claim
from fleet.model.reason import Reason
from fleet.model.result import Outbound, Shadow, Status, Work
from fleet.model.target import Capability
from policies.money import nano_of
from policies.resilience import delivery as delivery_policy
from policies.resilience.delivery import LAST_RESORT
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.spend import CellSpendBook
from queues.memory import MemoryQueue
from queues.wire.letters import message_of

SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
TORN = Features(-0.35, -0.35, -0.35, -0.35, -0.35, 1, 0.4, 0.6)
SMALL, NEXT, CLOUD = "llama-8b", "mixtral-8x7b", "groq-gpt-oss-120b"
TASK = "classify.sentiment"
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}
DECILES = tuple(n / 10 for n in range(1, 10))


def said(text, features=SURE):
    return Answer({"role": "assistant", "content": text}, "stop", Usage(10, 1), "scripted", features)


def says(text, features=SURE):
    return lambda call: said(text, features)


def fails(*_args, **_kwargs):
    raise RuntimeError("a bug in what is done on the side")


@pytest.fixture
def all_drawn(bench):
    """Rules under which every job is compared, by a cloud target if need be."""
    bench.rules = replace(bench.rules, shadow=replace(bench.rules.shadow, kept=1.0, escalated=1.0, cloud=True))


@pytest.fixture
def work(bench):
    """Work of a job that the small model has answered."""

    def build(target, **changes):
        now = bench.broker.now()
        job = Job("job-standard-000000000099", "acme", Lane.STANDARD, TASK, Plan.PAID, REQUEST, now)
        attempt = Attempt(1, SMALL, Reason.ROUTED, now, now, said("positive"), 0.9)
        plain = {"job": job, "target": target, "reason": Reason.LOW_CONFIDENCE, "hop": 1, "attempts": (attempt,)}
        return Work(**{**plain, **changes})

    return build


@pytest.fixture
def lent_out(bench):
    """Another dispatcher holds all of the day's money; nothing of it is spent yet."""

    async def hold():
        book = CellSpendBook(bench.cells, bench.broker, bench.rules.money.open_seconds)
        limit = nano_of(bench.rules.money.daily_usd)
        [reservation] = await book.reserve([Claim("beta", limit, limit)])
        return lambda: book.settle(reservation, 0)

    return hold


@pytest.fixture
def emptied(bench):
    """Wait until nothing waits any more; the broker tells nobody that something has gone."""

    async def wait():
        while bench.broker.depths().by_target():  # noqa: ASYNC110 (waits for no time)
            await asyncio.sleep(0)

    return wait


# --- bugs


@pytest.mark.parametrize("function", ["shadow_of", "escalated_comparisons"])
async def test_a_bug_in_a_comparison_does_not_cost_the_job_its_answer(bench, all_drawn, monkeypatch, function):
    monkeypatch.setattr(comparing, function, fails)
    bench.backend(SMALL, says("positive"))
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.answer.text) == (Status.SUCCEEDED, "positive")
    assert not bench.broker.stored("dead")


async def test_a_bug_in_a_comparison_does_not_stop_the_dispatcher(bench, monkeypatch, work):
    """The job ends as it comes in: no judgement stands between the bug and the loop that took it."""
    monkeypatch.setattr(comparing, "escalated_comparisons", fails)
    bench.rules = replace(bench.rules, delivery=replace(bench.rules.delivery, max_deliveries=1))
    bench.backend(NEXT, says("positive"))
    coming = work(NEXT)
    bench.broker.store(message_of(coming))
    for _ in range(LAST_RESORT * 2):  # the limit is two at least
        [delivery] = await bench.queue.take(WorkOf(NEXT, Lane.STANDARD), 1, PATIENCE_SECONDS)
        await bench.queue.settle([Retry(delivery)])
    async with bench.running():
        result = await bench.result(coming.job.id)
    assert (result.status, result.reason) == (Status.SUCCEEDED, Reason.CONFIDENT)


class QueueWithoutComparisons(MemoryQueue):
    """A broker that takes neither comparisons nor labels."""

    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        is_aside = isinstance(outbound, Work) and outbound.shadow is not None
        return Stored.REFUSED if is_aside else super().store(outbound, traceparent)


async def test_a_comparison_the_broker_refuses_leaves_the_job_as_it_is(bench, all_drawn):
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, says("positive"))
    [job_id] = await bench.submit()
    async with bench.running(QueueWithoutComparisons(bench.broker)):
        await bench.result(job_id)
    assert not bench.broker.stored("dead")
    assert [line["status"] for line in bench.ledger()] == ["succeeded"]


async def test_a_comparison_that_keeps_coming_back_ends_without_a_label(bench, work, emptied):
    bench.rules = replace(bench.rules, delivery=replace(bench.rules.delivery, max_deliveries=1))
    strong = bench.backend(NEXT, says("negative"))
    it = Shadow("job-standard-000000000099", NEXT, 1, 0.5)
    bench.broker.store(message_of(work(NEXT, reason=Reason.SHADOW, shadow=it)))
    for _ in range(LAST_RESORT * 2):  # the limit is two at least
        [delivery] = await bench.queue.take(WorkOf(NEXT, Lane.STANDARD), 1, PATIENCE_SECONDS)
        await bench.queue.settle([Retry(delivery)])
    async with bench.running():
        await emptied()
    assert strong.batches == []
    assert not bench.broker.stored("feedback") and not bench.broker.stored("results")


def without_shadow(body):
    return json.dumps({**json.loads(body), "shadow": None, "attempts": "none"}).encode()


@pytest.mark.parametrize(
    ("damage", "keeps_headers"),
    [
        (lambda body: body.replace(b'"attempts":', b'"tries":'), False),
        (lambda body: body.replace(b'"attempts":', b'"tries":'), True),
        (lambda body: body[:-9], True),
        (without_shadow, True),
    ],
)
async def test_a_comparison_that_cannot_be_read_ends_without_a_word_to_the_tenant(
    bench, work, emptied, monkeypatch, damage, keeps_headers
):
    monkeypatch.setattr(delivery_policy, "UNREADABLE_TRIES", 1)
    bench.backend(NEXT, says("negative"))
    it = Shadow("job-standard-000000000099", NEXT, 1, 0.5)
    sent = work(NEXT, reason=Reason.SHADOW, shadow=it)
    message = message_of(replace(sent, job=replace(sent.job, id="shadow-0123456789abcdef")))
    headers = message.headers if keeps_headers else {}
    bench.broker.store(replace(message, data=damage(message.data), headers=headers))
    with capture_logs() as lines:
        async with bench.running():
            await emptied()
    assert not any(bench.broker.stored(stream) for stream in ("results", "dead", "ledger", "feedback"))
    assert [line["log_level"] for line in lines if line["event"] == "comparison_unreadable"] == ["warning"]


async def test_other_work_that_cannot_be_read_is_answered_under_the_id_of_its_job(bench, work, monkeypatch):
    monkeypatch.setattr(delivery_policy, "UNREADABLE_TRIES", 1)
    bench.backend(NEXT, says("negative"))
    sent = work(NEXT)
    message = message_of(sent)
    bench.broker.store(replace(message, data=message.data[:-9]))
    async with bench.running():
        result = await bench.result(sent.job.id)
    assert (result.status, result.reason) == (Status.FAILED, Reason.INTERNAL_ERROR)


# --- money


async def test_a_second_look_never_waits_for_money(bench, with_target, lent_out):
    bench.rules = replace(bench.rules, confidence=replace(bench.rules.confidence, probes={TASK: Probe.PREFILL}))
    capabilities = bench.rules.catalogue.targets[CLOUD].capabilities
    with_target(CLOUD, capabilities=capabilities | {Capability.LOGPROBS})
    bench.backend("llama-70b", says("positive", replace(TORN, min=-0.2)))
    cloud = bench.backend(CLOUD, says("yes"))
    await lent_out()
    [job_id] = await bench.submit(request={**REQUEST, "model": "llama-70b"}, tier="simple")
    async with bench.running():
        result = await asyncio.wait_for(bench.result(job_id), PATIENCE_SECONDS)
    assert (result.status, result.target, result.answer.text) == (Status.SUCCEEDED, "llama-70b", "positive")
    assert cloud.batches == []
    assert isinstance(result.attempts[1].outcome, Failure) and result.attempts[1].probe is Probe.PREFILL


async def test_a_comparison_never_waits_for_money(bench, all_drawn, lent_out, emptied):
    bench.backend(SMALL, says("positive"))
    cloud = bench.backend(CLOUD, says("positive"))
    await lent_out()
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
        await emptied()
    assert cloud.batches == []
    assert len(bench.ledger()) == 1 and not bench.broker.stored("feedback")


async def test_however_long_a_job_waits_for_money_it_is_not_taken_for_one_that_crashes_us(bench, lent_out):
    bench.rules = replace(bench.rules, delivery=replace(bench.rules.delivery, max_deliveries=2))
    bench.backend(CLOUD, says("positive"))
    give_back = await lent_out()
    [job_id] = await bench.submit(lane=Lane.STANDARD, request={**REQUEST, "model": CLOUD})
    async with bench.running():
        for _ in range(8):
            await bench.broker.changed_once()
            bench.broker.ahead_seconds += 1.0
            bench.broker.wake()
            await asyncio.sleep(0)
        give_back()
        result = await bench.result(job_id)
    assert (result.status, result.answer.text) == (Status.SUCCEEDED, "positive")


# --- drift


@pytest.fixture
def calibration(bench):
    def build(p=0.97, **changes):
        target = bench.rules.catalogue.targets[SMALL]
        scorer = Scorer(Fit.PLATT, ("min_logit",), (0.0,), math.log(p / (1 - p)))
        plain = {"version": "c1", "fitted_at": 1.0, "labels": 300, "scorer": scorer, "edges": DECILES}
        changed = {"revision": target.revision, **plain, **changes}
        return Calibration(CalibrationKey(SMALL), target.model, logprobs_mode=target.logprobs_mode, **changed)

    return build


@pytest.fixture
def knowledge(bench):
    def build(*prior):
        state = FleetState([SMALL], bench.rules)
        return Knowledge(
            Learned(MemoryCalibrations(), {each.key: each for each in prior}), state, bench.rules, [].append
        )

    return build


def watched(bench, knowledge, count=200, **changes):
    """What becomes of the calibration in force after so many answers that all look alike."""
    job = Job("job-standard-000000000099", "acme", Lane.STANDARD, TASK, Plan.PAID, REQUEST, 0.0)
    case = replace(InFlightJob.of(Delivery(job, WorkOf(SMALL, Lane.STANDARD), 1, 0.0)), **changes)
    for _ in range(count):
        confidence, _ = knowledge.judge(case, said("positive"), bench.rules.catalogue.targets[SMALL])
        assert confidence is not None
    return knowledge.calibrations[CalibrationKey(SMALL)]


async def test_answers_that_all_look_alike_are_drift(bench, knowledge, calibration):
    assert watched(bench, knowledge(calibration())).withdrawn is not None


async def test_a_guard_that_gives_all_answers_one_confidence_is_no_drift(bench, knowledge, calibration):
    off = calibration(guard=Guard.NO_BETTER_THAN_MIXING, good=0.4)
    assert watched(bench, knowledge(off)).withdrawn is None


async def test_comparisons_are_not_the_traffic_a_calibration_speaks_of(bench, knowledge, calibration):
    it = Shadow("job-standard-000000000099", SMALL, 1, 0.5)
    assert watched(bench, knowledge(calibration()), shadow=it).withdrawn is None


async def test_a_calibration_that_cannot_be_watched_still_judges(bench, knowledge, calibration):
    odd = calibration(edges=tuple(n / 16 for n in range(1, 16)))
    assert watched(bench, knowledge(odd), count=2).withdrawn is None


async def test_a_withdrawal_does_not_undo_a_calibration_that_was_put_in_force_meanwhile(bench, calibration):
    store = MemoryCalibrations()
    old, new = calibration(), calibration(version="c2")
    here = Knowledge(Learned(store, {old.key: old}), FleetState([SMALL], bench.rules), bench.rules, [].append)
    await store.put([new])
    assert watched(bench, here).version == "c1" + WITHDRAWN
    await asyncio.gather(*here._telling)
    assert (await store.read_all())[new.key].version == "c2"


async def test_a_withdrawal_is_stored_once_the_broker_is_back(bench, calibration, monkeypatch):
    monkeypatch.setattr("fleet.dispatch.patience.PAUSE_SECONDS", 0.01)
    store, old = MemoryCalibrations(), calibration()
    await store.put([old])
    refused = iter([QueueUnavailable("away")] * 3)
    monkeypatch.setattr(store, "read_all", lambda: answered(next(refused, None), store))
    here = Knowledge(Learned(store, {old.key: old}), FleetState([SMALL], bench.rules), bench.rules, [].append)
    assert watched(bench, here).withdrawn is not None
    await asyncio.gather(*here._telling)
    assert (await MemoryCalibrations.read_all(store))[old.key].withdrawn is not None


async def answered(refusal: QueueUnavailable | None, store: MemoryCalibrations) -> dict[CalibrationKey, Calibration]:
    if refusal is not None:
        raise refusal
    return await MemoryCalibrations.read_all(store)


async def test_what_is_stored_for_weights_of_yesterday_does_not_hide_what_came_with_todays(
    bench, knowledge, calibration
):
    shipped = calibration()
    here = knowledge(shipped)
    yesterday = calibration(version="c0", revision="yesterday")
    here._take({yesterday.key: yesterday})
    assert here.calibrations[shipped.key].version == "c1"
