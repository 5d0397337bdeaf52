"""What is said of an answer reaches the record, for the target that gave it."""

from __future__ import annotations

import pytest
from memory_fleet import MemoryFleet, succeeded

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient
from fleet.model.errors import InvalidFeedback, InvalidJob
from fleet.model.feedback import Verdict, Witness
from fleet.model.job import Lane

HELLO = [{"role": "user", "content": "hello"}]
SOON = 0.01


@pytest.mark.parametrize("verdict", [Verdict.GOOD, Verdict.BAD, Verdict.BETTER, "bad"])
async def test_feedback_is_said_of_the_target_that_answered(
    client: FleetClient, fleet: MemoryFleet, verdict: str
) -> None:
    job_id = await client.submit(task="chat", messages=HELLO)
    await client.wait(job_id)

    await client.feedback(job_id, verdict, text="a remark")

    [said] = await fleet.feedback()
    assert (said.job_id, said.tenant, said.verdict, said.source) == (job_id, "acme", verdict, Witness.USER)
    assert (said.target, said.text, said.changed) == ("llama-8b", "a remark", None)


async def test_feedback_on_a_job_whose_result_is_gone_is_still_stored(client: FleetClient, fleet: MemoryFleet) -> None:
    await client.feedback("my-own-job-id-0001", "edited", text="hello")

    [said] = await fleet.feedback()
    assert (said.target, said.changed) == (None, None)


@pytest.mark.parametrize(
    ("answer", "edit", "changed"),
    [
        ("Thank you, Ada!", "thank  you Ada.", False),
        ("Thank you, Ada!", "Thank you, Ida!", True),
        ("Straße", "STRASSE", False),
        ("pays 1.5 of 10", "pays 15 of 10", True),
        ("pays -5", "pays 5", True),
        ("pays 1,500 now", "Pays 1,500, now", False),
        ("", "something", True),
    ],
)
async def test_an_edit_of_whitespace_case_and_punctuation_changes_nothing(
    answer: str, edit: str, changed: bool
) -> None:
    async with MemoryFleet(answer=lambda job: succeeded(job, answer)).running() as fleet:
        desk = fleet.desk("acme")
        async with Inbox(desk, SOON) as inbox:
            client = FleetClient(desk, inbox)
            job_id = (await client.run(task="chat", messages=HELLO)).job_id
            await client.feedback(job_id, "edited", text=edit)
        [said] = await fleet.feedback()
    assert (said.text, said.changed) == (edit, changed)


@pytest.mark.parametrize(
    ("job_id", "verdict", "text", "field"),
    [
        ("my-own-job-id-0001", "meh", None, "verdict"),
        ("my-own-job-id-0001", "edited", None, "text"),
        ("my-own-job-id-0001", "good", "", "text"),
        ("my-own-job-id-0001", "good", "x" * 40_000, "text"),
        ("short", "good", None, "id"),
    ],
)
async def test_wrong_feedback_is_refused_before_it_is_sent(
    client: FleetClient, fleet: MemoryFleet, job_id: str, verdict: str, text: str | None, field: str
) -> None:
    with pytest.raises((InvalidFeedback, InvalidJob)) as raised:
        await client.feedback(job_id, verdict, text=text)
    assert raised.value.field == field
    assert await fleet.feedback() == []


async def test_better_says_so_and_asks_again_above_the_target_that_answered(
    client: FleetClient, fleet: MemoryFleet
) -> None:
    first = await client.run(task="chat", messages=HELLO)

    second = await client.better(first.job_id, task="chat", messages=HELLO, lane="interactive")
    await client.wait(second)

    [said] = await fleet.feedback()
    assert (said.job_id, said.verdict) == (first.job_id, Verdict.BETTER)
    assert [(job.id, job.above, job.lane) for job in fleet.jobs] == [
        (first.job_id, None, Lane.STANDARD),
        (second, first.target, Lane.INTERACTIVE),
    ]


async def test_better_than_no_answer_is_refused(client: FleetClient, fleet: MemoryFleet) -> None:
    with pytest.raises(InvalidJob, match="must have a stored answer"):
        await client.better("my-own-job-id-0001", task="chat", messages=HELLO)
    assert (await fleet.feedback(), fleet.jobs) == ([], [])
