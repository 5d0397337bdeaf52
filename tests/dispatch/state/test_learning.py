"""What the dispatcher does to learn: comparisons behind answers, second looks, calibrations that change."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import pytest

from fleet.model.attempt import Answer, Failure, FailureKind, Features, Usage
from fleet.model.calibration import (
    Calibration,
    CalibrationKey,
    Fit,
    Probe,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status

SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
TORN = Features(-0.35, -0.35, -0.35, -0.35, -0.35, 1, 0.4, 0.6)
SMALL, NEXT = "llama-8b", "mixtral-8x7b"


def says(text, features=SURE):
    return lambda call: Answer({"role": "assistant", "content": text}, "stop", Usage(10, 1), "scripted", features)


@pytest.fixture
def sampling(bench):
    """Rules that draw every job."""

    def draw(kept=1.0, escalated=1.0):
        bench.rules = replace(bench.rules, shadow=replace(bench.rules.shadow, kept=kept, escalated=escalated))

    return draw


@pytest.fixture
def labels(bench):
    def read():
        return [json.loads(message.data) for message in bench.broker.stored("feedback")]

    return read


@pytest.fixture
def until(bench):
    """Wait for something to become true of the broker."""

    async def wait(condition):
        while not condition():
            await bench.broker.changed_once()

    return wait


@pytest.mark.parametrize(("other", "verdict"), [("Positive.", "good"), ("negative", "bad")])
async def test_behind_a_kept_answer_a_stronger_model_s_word_becomes_a_label(
    bench, sampling, labels, until, other, verdict
):
    sampling()
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, says(other))
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
        await until(labels)
        await until(lambda: len(bench.ledger()) == 2)
    [label] = labels()
    assert (label["job_id"], label["target"], label["verdict"]) == (job_id, SMALL, verdict)
    assert (label["source"], label["propensity"]) == ("shadow", 1.0)
    assert (result.target, len(result.attempts)) == (SMALL, 1), "the job itself is not touched"
    assert len(bench.broker.stored("results")) == 1
    accounts = bench.ledger()
    assert [(line["id"], line["attempt"]["target"], line["reason"]) for line in accounts] == [
        (job_id, SMALL, "confident"),
        (job_id, NEXT, "shadow"),
    ]


async def test_a_comparison_that_fails_costs_a_line_of_accounts_and_nothing_else(bench, sampling, labels, until):
    sampling()
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, lambda call: Failure(FailureKind.SERVER_ERROR, "broken"))
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
        await until(lambda: len(bench.ledger()) == 2)
    assert labels() == []
    assert len(bench.broker.stored("results")) == 1
    assert not bench.broker.stored("dead")
    assert not bench.broker.stored("work"), "the comparison is over"


async def test_the_answer_an_escalation_discarded_is_labelled_at_no_cost(bench, sampling, labels):
    sampling(kept=0.0)
    bench.backend(SMALL, says("positive", replace(TORN, min=-2.0)))
    strong = bench.backend(NEXT, says("negative"))
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
    [label] = labels()
    assert (label["target"], label["verdict"], label["propensity"]) == (SMALL, "bad", 1.0)
    assert sum(len(batch) for batch in strong.batches) == 1


async def test_by_default_most_jobs_leave_neither_comparison_nor_label(bench, labels):
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, says("positive"))
    job_ids = await bench.submit(40)
    async with bench.running():
        for job_id in job_ids:
            await bench.result(job_id)
    assert len(labels()) < 10


@pytest.mark.parametrize(("word", "target"), [("yes", SMALL), ("no", NEXT)])
async def test_a_second_look_decides_what_the_score_cannot(bench, word, target):
    task = "classify.sentiment"
    bench.rules = replace(bench.rules, confidence=replace(bench.rules.confidence, probes={task: Probe.P_TRUE}))

    def small(call):
        return says(word)(call) if len(call.request["messages"]) > 1 else says("positive", TORN)(call)

    asked = bench.backend(SMALL, small)
    bench.backend(NEXT, says("negative"))
    [job_id] = await bench.submit(task=task)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.target) == (Status.SUCCEEDED, target)
    look = result.attempts[1]
    assert (look.probe, look.reason, look.target) == (Probe.P_TRUE, Reason.GREY_BAND, SMALL)
    assert [len(batch[0].request["messages"]) for batch in asked.batches] == [1, 3]
    assert result.answer.text == ("positive" if word == "yes" else "negative")


# --- calibrations


@pytest.fixture
def calibrated(bench):
    """A calibration of the small model for the task that `bench.submit` sends."""

    def build(p, **changes):
        target = bench.rules.catalogue.targets[SMALL]
        scorer = Scorer(Fit.PLATT, ("min_logit",), (0.0,), math.log(p / (1 - p)))
        key = CalibrationKey(SMALL, "classify.sentiment", "token")
        plain = {"edges": (), "version": "c1", "labels": 300, "fitted_at": 1.0, "scorer": scorer}
        return Calibration(key, target.model, target.revision, target.logprobs_mode, **{**plain, **changes})

    return build


@pytest.fixture
def in_force(until):
    """Wait until the running dispatcher holds a calibration that is so."""

    async def wait(dispatcher, condition):
        knowledge = dispatcher._parts.knowledge
        while not any(condition(each) for each in knowledge.calibrations.values()):  # noqa: ASYNC110 (waits for no time)
            await asyncio.sleep(0)

    return wait


async def test_a_calibration_put_into_the_store_judges_the_next_answer_without_a_restart(bench, calibrated, in_force):
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, says("positive"))
    async with bench.running() as dispatcher:
        [before] = await bench.submit(lane=Lane.INTERACTIVE)
        assert (await bench.result(before)).target == SMALL
        await bench.calibrations.put([calibrated(0.3)])
        await in_force(dispatcher, lambda each: each.version == "c1")
        [after] = await bench.submit(lane=Lane.STANDARD)
        result = await bench.result(after)
    first = result.attempts[0]
    assert result.target == NEXT and first.judged is not None
    assert (first.confidence, first.judged.calibration) == (pytest.approx(0.3), "c1")


async def test_confidences_that_move_withdraw_the_promise_here_and_in_the_store(bench, calibrated, in_force):
    """All answers look alike: nothing like the spread that the calibration was fitted on."""
    edges = tuple(n / 10 for n in range(1, 10))
    bench.backend(SMALL, says("positive"))
    await bench.calibrations.put([calibrated(0.97, edges=edges)])
    job_ids = await bench.submit(120)
    async with bench.running() as dispatcher:
        await in_force(dispatcher, lambda each: each.version == "c1")
        for job_id in job_ids:
            await bench.result(job_id)
        await in_force(dispatcher, lambda each: each.withdrawn is not None)
    [stored] = (await bench.calibrations.read_all()).values()
    assert stored.version == "c1+withdrawn" and "PSI" in stored.withdrawn


async def test_answers_that_are_wrong_more_often_than_promised_withdraw_the_promise(
    bench, sampling, calibrated, in_force
):
    sampling()
    promise = Threshold(ThresholdMode.GUARANTEE, 0.5, 0.99, risk=0.05, delta=0.1)
    await bench.calibrations.put([calibrated(0.97, threshold=promise)])
    bench.backend(SMALL, says("positive"))
    bench.backend(NEXT, says("negative"))
    async with bench.running() as dispatcher:
        await in_force(dispatcher, lambda each: each.version == "c1")
        await bench.submit(40)
        await in_force(dispatcher, lambda each: each.withdrawn is not None)
    [stored] = (await bench.calibrations.read_all()).values()
    assert "more often than promised" in stored.withdrawn


async def test_a_new_calibration_ends_a_withdrawal(bench, calibrated, in_force):
    edges = tuple(n / 10 for n in range(1, 10))
    bench.backend(SMALL, says("positive"))
    await bench.calibrations.put([calibrated(0.97, edges=edges)])
    async with bench.running() as dispatcher:
        await in_force(dispatcher, lambda each: each.version == "c1")
        for job_id in await bench.submit(120):
            await bench.result(job_id)
        await in_force(dispatcher, lambda each: each.withdrawn is not None)
        await bench.calibrations.put([calibrated(0.97, version="c2")])
        await in_force(dispatcher, lambda each: each.version == "c2" and each.withdrawn is None)
