"""What was asked and answered leaves the dispatcher only where the rule of the task collects it."""

from __future__ import annotations

from dataclasses import replace

from patience import eventually

from fleet.model.delivery import Stored
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Outbound, Status
from queues.memory import MemoryQueue
from queues.wire.content import decode_content

TASK = "classify.sentiment"


def collecting(bench) -> None:
    tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], collect=True)}
    bench.rules = replace(bench.rules, tasks=tasks)


async def test_nothing_is_collected_unless_a_rule_says_so(bench, sure):
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        await bench.result(job_id)
    assert not bench.broker.stored("content")


async def test_a_job_of_a_task_that_is_collected_leaves_its_request_and_its_answer(bench, sure):
    collecting(bench)
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(person="p-81f2")
    [other] = await bench.submit(lane=Lane.STANDARD, task="detect.issue")
    async with bench.running():
        result = await bench.result(job_id)
        await bench.result(other)
    [message] = bench.broker.stored("content")
    found = decode_content(message.data)
    assert message.subject == "content.acme"
    assert (found.job_id, found.tenant, found.task, found.target) == (job_id, "acme", TASK, "llama-8b")
    assert (found.person, found.at) == ("p-81f2", result.finished_at)
    assert (found.request["messages"][0]["content"], found.message) == ("All is well.", result.answer.message)


async def test_what_only_the_accounts_are_told_of_a_person_is_no_content(bench, sure):
    collecting(bench)
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(person="p-81f2")
    async with bench.running():
        await bench.result(job_id)
    assert b"All is well." not in b"".join(message.data for message in bench.broker.stored("ledger"))


async def test_an_answer_that_was_replaced_is_collected_too_and_whose_it_was(bench, sure, unsure):
    collecting(bench)
    bench.backend("llama-8b", unsure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    [message] = bench.broker.stored("content")
    found = decode_content(message.data)
    weak, strong = found.answers
    assert (found.status, found.target, found.message) == ("succeeded", "mixtral-8x7b", result.answer.message)
    assert (weak.target, weak.provider, weak.delivered) == ("llama-8b", "fleet", False)
    assert (weak.message["content"], weak.confidence) == ("perhaps", result.attempts[0].confidence)
    assert (strong.target, strong.reason, strong.delivered, strong.message) == (
        "mixtral-8x7b", Reason.LOW_CONFIDENCE, True, None
    )  # fmt: skip


async def test_a_comparison_is_collected_under_the_job_and_the_time_of_the_answer_that_was_kept(bench, sure):
    collecting(bench)
    bench.rules = replace(bench.rules, shadow=replace(bench.rules.shadow, kept=1.0))
    bench.backend("llama-8b", sure)
    bench.backend("mixtral-8x7b", sure)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
        await eventually(lambda: len(bench.broker.stored("content")) == 2)
    first, again = (decode_content(message.data) for message in bench.broker.stored("content"))
    assert (again.job_id, again.target, again.message) == (job_id, first.target, first.message)
    assert again.at == result.attempts[0].ended_at
    assert [(each.target, each.reason, each.delivered) for each in again.answers] == [
        ("llama-8b", Reason.ROUTED, True), ("mixtral-8x7b", Reason.SHADOW, False)
    ]  # fmt: skip


class NoRoomForContents(MemoryQueue):
    def store(self, outbound: Outbound, traceparent: str | None) -> Stored:
        return Stored.REFUSED if type(outbound).__name__ == "Content" else super().store(outbound, traceparent)


async def test_a_content_that_is_refused_costs_no_job_its_answer(bench, sure):
    collecting(bench)
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit()
    async with bench.running(NoRoomForContents(bench.broker)):
        assert (await bench.result(job_id)).status is Status.SUCCEEDED
    assert not bench.broker.stored("content")
    assert not bench.broker.stored("dead")
