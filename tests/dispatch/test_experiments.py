"""Experiments in a dispatcher: who is answered how, what is on record, and how a roll-out ends by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS, eventually

from fleet.dispatch.state.experiments import Trials
from fleet.model.attempt import Failure, FailureKind
from fleet.model.errors import ConfigError
from fleet.model.experiment import CONTROL, Arm, Experiment, Stage, Unit
from fleet.model.job import Lane
from fleet.model.result import Status
from fleet.model.submission import Submission
from fleet.settings.documents import read_document, shipped
from fleet.settings.experiments import ArmRules
from policies.experiments.arms import in_arm
from policies.experiments.assignment import drawn
from policies.experiments.checks import started, stopped
from policies.rules.sections import CacheMode
from queues.jetstream.stores.experiments import MemoryExperiments
from queues.wire.ledger import decode_ledger

TASK = "classify.sentiment"
CANDIDATE = Arm("candidate", 0.5, target="llama-70b")
TRIAL = Experiment("trial", Unit.CONVERSATION, (CANDIDATE,))


def conversation_in(arm: str, experiment: Experiment = TRIAL) -> str:
    return next(f"c-{n}" for n in range(99) if drawn(experiment, f"acme.c-{n}").arm == arm)


@pytest.fixture
def store(bench) -> MemoryExperiments:
    found = MemoryExperiments(bench.broker)
    document = read_document(shipped("policies", "rules.yaml"))
    bench.trials = Trials(found, ArmRules(document, bench.rules))
    return found


async def begin(store: MemoryExperiments, bench, experiment: Experiment) -> None:
    await store.change(lambda there: started(experiment, there.values(), bench.broker.now()))


async def answered(bench, number: int, conversation: str, **changes):
    request = {"messages": [{"role": "user", "content": f"All is well, {number}."}]}
    plain = {"lane": Lane.INTERACTIVE, "task": TASK, "request": request, "metadata": {"conversation": conversation}}
    submission = Submission(f"job-{number:016d}", **{**plain, **changes})
    await bench.desk.submit([submission])
    return await bench.result(submission.id)


def lines(bench):
    return [decode_ledger(message.data) for message in bench.broker.stored("ledger")]


async def test_each_conversation_is_answered_by_its_arm_and_its_lines_say_which(bench, store, sure):
    bench.backend("llama-8b", sure), bench.backend("llama-70b", sure)
    await begin(store, bench, TRIAL)
    async with bench.running():
        control = await answered(bench, 1, conversation_in(CONTROL))
        candidate = await answered(bench, 2, conversation_in("candidate"))
        outside = await answered(bench, 3, "c-0", metadata={})
    assert [each.target for each in (control, candidate, outside)] == ["llama-8b", "llama-70b", "llama-8b"]
    found = {line.job_id: line.assigned for line in lines(bench)}
    assert [found[each.job_id] and found[each.job_id].arm for each in (control, candidate, outside)] == [
        CONTROL,
        "candidate",
        None,
    ]
    assert found[candidate.job_id].propensity == 0.5


async def test_an_escalated_job_keeps_the_arm_it_was_drawn_into_on_every_line(bench, store, sure, unsure):
    bench.backend("llama-8b", unsure), bench.backend("llama-70b", sure)
    await begin(store, bench, TRIAL)
    async with bench.running():
        result = await answered(bench, 1, conversation_in(CONTROL))
    assert [attempt.target for attempt in result.attempts] == ["llama-8b", "llama-70b"]
    assert [line.assigned.arm for line in lines(bench)] == [CONTROL, CONTROL]


async def test_a_prompt_is_asked_in_its_arm_alone_and_the_job_stays_as_it_was_sent(bench, store, sure):
    prompted = replace(TRIAL, arms=(Arm("candidate", 0.5, prompt="Be brief."),))
    small = bench.backend("llama-8b", sure)
    await begin(store, bench, prompted)
    async with bench.running():
        await answered(bench, 1, conversation_in("candidate", prompted))
        await answered(bench, 2, conversation_in(CONTROL, prompted))
    asked = [[message["role"] for message in call.request["messages"]] for batch in small.batches for call in batch]
    assert asked == [["system", "user"], ["user"]]


async def test_the_prompt_of_an_arm_is_asked_again_at_the_next_target_and_is_not_carried(bench, store, sure, unsure):
    prompted = replace(TRIAL, arms=(Arm("candidate", 0.5, prompt="Be brief."),))
    bench.backend("llama-8b", unsure)
    large = bench.backend("llama-70b", sure)
    await begin(store, bench, prompted)
    async with bench.running():
        await answered(bench, 1, conversation_in("candidate", prompted))
    [[call]] = large.batches
    assert [message["role"] for message in call.request["messages"]] == ["system", "user"]


async def test_what_calls_leave_out_can_be_an_arm(bench, store, sure):
    diet = {"tasks": {TASK: {"tier": "simple", "diet": {"threads": "on", "thread_tokens": 100}}}}
    dieted = replace(TRIAL, arms=(Arm("candidate", 0.5, rules=diet),))
    small = bench.backend("llama-8b", sure)
    thread = [{"role": role, "content": "word " * 20} for _ in range(5) for role in ("user", "assistant")]
    await begin(store, bench, dieted)
    async with bench.running():
        for number, arm in enumerate(("candidate", CONTROL)):
            request = {"messages": [*thread, {"role": "user", "content": "Is it well?"}]}
            await answered(bench, number, conversation_in(arm, dieted), request=request)
    in_arm, in_control = (len(call.request["messages"]) for batch in small.batches for call in batch)
    assert (in_arm < 11, in_control) == (True, 11)


async def test_the_answers_of_an_arm_are_not_given_to_others(bench, store, sure):
    tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], cache=CacheMode.ANY)}
    bench.rules = replace(bench.rules, tasks=tasks)
    bench.trials = Trials(store, lambda experiment, arm: in_arm(bench.rules, experiment, arm))
    small, large = bench.backend("llama-8b", sure), bench.backend("llama-70b", sure)
    await begin(store, bench, TRIAL)
    same = {"request": {"messages": [{"role": "user", "content": "All is well."}]}}
    async with bench.running():
        for number, arm in enumerate(("candidate", CONTROL, "candidate", CONTROL)):
            await answered(bench, number, conversation_in(arm), **same)
    assert [len(small.batches), len(large.batches)] == [1, 1]


async def test_a_stop_sends_the_next_job_of_the_arm_the_usual_way(bench, store, sure):
    bench.backend("llama-8b", sure), bench.backend("llama-70b", sure)
    await begin(store, bench, TRIAL)
    async with bench.running() as dispatcher:
        assert (await answered(bench, 1, conversation_in("candidate"))).target == "llama-70b"
        await store.change(lambda there: stopped(there["trial"], "enough", 9.0))
        await eventually(lambda: not dispatcher._parts.experiments.in_force)
        assert (await answered(bench, 2, conversation_in("candidate"))).target == "llama-8b"
    assert lines(bench)[-1].assigned is None


@pytest.mark.parametrize("how", ["lost", "left out", "refused"])
async def test_where_an_experiment_cannot_be_known_or_used_jobs_go_on_as_control(bench, store, sure, how):
    bench.backend("llama-8b", sure), bench.backend("llama-70b", sure)
    wrong = TRIAL if how == "lost" else replace(TRIAL, arms=(replace(CANDIDATE, target="no-such-target"),))
    if how == "refused":
        wrong = TRIAL
        bench.trials = Trials(store, refuse)
    await begin(store, bench, wrong)
    async with bench.running() as dispatcher:
        if how == "lost":
            await eventually(lambda: dispatcher._parts.experiments.in_force)
            store.lose()
        await eventually(lambda: not dispatcher._parts.experiments.in_force)
        result = await answered(bench, 1, conversation_in("candidate"))
    assert (result.status, result.target) == (Status.SUCCEEDED, "llama-8b")


def refuse(experiment, arm):
    raise ConfigError("arms.candidate.rules.phase", "'phase9' is none of phase1, phase3")


async def test_a_guardrail_stops_a_rollout_after_the_job_that_shows_it(bench, store, sure, unsure):
    refusal = Failure(FailureKind.INVALID_REQUEST, "no")
    bench.backend("llama-8b", sure), bench.backend("llama-70b", lambda call: refusal)
    await begin(store, bench, TRIAL)
    arms = [conversation_in(CONTROL), conversation_in("candidate")]
    async with bench.running():
        for number in range(60):
            await answered(bench, number, arms[number % 2])
        ended = await stopped_one(store)
    assert ended.why.startswith("gate_failures of candidate: 1 against 0")


async def stopped_one(store: MemoryExperiments) -> Experiment:
    """Return the experiment once it is stopped; each change of the store is passed on as it is made."""
    told: asyncio.Queue[Experiment] = asyncio.Queue()
    watching = asyncio.create_task(store.watch(lambda there: told.put_nowait(there["trial"])))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await told.get()).stage is not Stage.STOPPED:
                pass
    finally:
        watching.cancel()
    return found
