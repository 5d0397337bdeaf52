"""What everything that keeps dead letters does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.delivery import JobsOf
from fleet.model.errors import InvalidJob
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Problem, Work
from fleet.model.submission import Submission

NOW = 1_900_000_000.0
SENT = Submission(
    "job-000000000001",
    "nudge",
    {"messages": [{"role": "user", "content": "Remind me."}]},
    lane=Lane.BULK,
    deadline_at=NOW - 1,
    cloud=("groq",),
    max_cost_usd=0.5,
    metadata={"user": "u-17"},
)
LETTER = DeadLetter("acme", SENT.id, Reason.ALL_FAILED, Problem("every target failed"), b"remind me", 5.0, Lane.BULK)


async def a_letter(rig: Rig, as_work: bool = False, tenant: str = "acme") -> DeadLetter:
    """The dead letter of a job that was taken from JOBS, or from WORK."""
    await rig.desk(tenant).submit([SENT])
    [delivery] = await rig.queue.take(JobsOf(Lane.BULK), 1, PATIENCE_SECONDS)
    raw = delivery.raw
    if as_work:
        assert isinstance(delivery.body, Job)
        from queues.wire.work import encode_work

        raw = encode_work(Work(delivery.body, "llama-8b", Reason.ROUTED))
    letter = DeadLetter(tenant, SENT.id, Reason.ALL_FAILED, Problem("every target failed"), raw, 5.0, Lane.BULK)
    await rig.queue.publish([letter])
    return letter


async def all_of(rig: Rig, tenant: str | None = None) -> list[DeadLetter]:
    return [kept.letter async for kept in rig.dead_letters().letters(tenant)]


async def test_letters_are_read_by_tenant_and_by_number(rig: Rig) -> None:
    mine, theirs = await a_letter(rig), await a_letter(rig, tenant="globex")
    assert await all_of(rig) == [mine, theirs]
    assert await all_of(rig, "globex") == [theirs]
    [kept] = [kept async for kept in rig.dead_letters().letters("globex")]
    assert await rig.dead_letters().letter(kept.sequence) == kept
    assert await rig.dead_letters().letter(kept.sequence + 1) is None


async def test_a_dropped_letter_is_gone(rig: Rig) -> None:
    await a_letter(rig)
    dead = rig.dead_letters()
    [kept] = [kept async for kept in dead.letters()]
    assert await dead.drop(kept.sequence) is True
    assert await dead.drop(kept.sequence) is False
    assert [kept async for kept in dead.letters()] == []


@pytest.mark.parametrize("as_work", [False, True])
async def test_a_redriven_job_is_submitted_anew_under_another_id(rig: Rig, as_work: bool) -> None:
    await a_letter(rig, as_work)
    dead = rig.dead_letters()
    [kept] = [kept async for kept in dead.letters()]

    new_id = await dead.redrive(kept, NOW)
    assert await dead.redrive(kept, NOW) == new_id
    [delivery] = await rig.queue.take(JobsOf(Lane.BULK), 10, PATIENCE_SECONDS)

    job = delivery.body
    assert isinstance(job, Job)
    assert (job.id, job.tenant, job.lane, job.task) == (new_id, "acme", Lane.BULK, "nudge")
    assert new_id != SENT.id
    assert job.metadata == {"user": "u-17", "redriven_from": SENT.id}
    assert (job.request, job.cloud.providers, job.max_cost_usd) == (SENT.request, frozenset({"groq"}), 0.5)
    assert job.deadline_at is None, "one that has passed would end it at once"


async def test_a_letter_that_holds_no_job_cannot_be_redriven(rig: Rig) -> None:
    letter = DeadLetter("acme", "invalid-0123456789", Reason.INVALID, Problem("no JSON"), b"remind me", 5.0)
    await rig.queue.publish([letter])
    dead = rig.dead_letters()
    [kept] = [kept async for kept in dead.letters()]
    with pytest.raises(InvalidJob, match="holds no job"):
        await dead.redrive(kept, NOW)


async def test_the_latest_letters_come_newest_first_and_in_pages(rig: Rig) -> None:
    letters = [replace(LETTER, job_id=f"job-{n:016}") for n in range(5)]
    await rig.queue.publish(letters)
    dead = rig.dead_letters()
    first = await dead.latest(2)
    second = await dead.latest(2, before=first[-1].sequence)
    assert [kept.letter for kept in (*first, *second)] == letters[:0:-1]
    assert [kept.letter for kept in await dead.latest(2, before=second[-1].sequence)] == letters[:1]
    assert await dead.latest(10) == [*first, *second, *await dead.latest(1, before=second[-1].sequence)]


async def test_dropped_letters_leave_no_gap_among_the_latest(rig: Rig) -> None:
    letters = [replace(LETTER, job_id=f"job-{n:016}") for n in range(6)]
    await rig.queue.publish(letters)
    dead = rig.dead_letters()
    for kept in (await dead.latest(6))[:5]:
        await dead.drop(kept.sequence)
    assert [kept.letter for kept in await dead.latest(1)] == letters[:1]


async def test_where_there_are_no_letters_there_are_no_latest(rig: Rig) -> None:
    assert list(await rig.dead_letters().latest(10)) == []
