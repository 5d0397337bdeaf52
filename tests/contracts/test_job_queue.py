"""What every job queue and every desk does, whatever it is made of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig
from queue_samples import BULK, SMALL, TRACEPARENT, job, submission, work

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Hop, Usage
from fleet.model.delivery import Ack, JobsOf, Stored, Transition
from fleet.model.errors import InvalidJob
from fleet.model.job import CLOUD_DENY, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem, Status
from queues.wire.dead_letter import decode_dead
from queues.wire.ledger import decode_ledger

HOP = Hop(1.25, 1.5, 3, "0123456789abcdef", 8)
NEW, REPEAT = Stored.NEW, Stored.REPEAT

FAILED = Attempt(
    1, "llama-8b", Reason.ROUTED, 1.5, 2.5, Failure(FailureKind.RATE_LIMITED, "busy", retry_after_seconds=3.0)
)
ANSWERED = Attempt(
    2,
    "mixtral",
    Reason.TARGET_FAILED,
    2.5,
    4.0,
    Answer(
        {"role": "assistant", "content": "Gern."},
        "stop",
        Usage(12, 3),
        "mixtral-8x7b",
        Features(-1.5, -0.5, -1.0, -0.9, -0.6, 3, 2.0, 0.25),
    ),
    confidence=0.75,
    cost_usd=0.0001,
)


async def test_a_submitted_job_is_taken_as_it_was_sent(rig: Rig) -> None:
    sent = replace(
        submission(),
        plan=Plan.OWN_KEY,
        tier=Tier.MEDIUM,
        deadline_at=1_900_000_000.5,
        max_cost_usd=0.25,
        cloud=("groq", "openai"),
        regions=("eu-central-1", "us"),
        own_key="openai/main",
        person="p-17",
        metadata={"user": "u-17"},
        traceparent=TRACEPARENT,
    )

    assert await rig.desk("acme").submit([sent]) == [True]
    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert delivery.body == Job(
        id=sent.id,
        tenant="acme",
        lane=Lane.BULK,
        task="nudge",
        plan=Plan.OWN_KEY,
        request=sent.request,
        submitted_at=delivery.stored_at,
        tier=Tier.MEDIUM,
        deadline_at=1_900_000_000.5,
        max_cost_usd=0.25,
        cloud=Cloud(frozenset({"groq", "openai"})),
        regions=("eu-central-1", "us"),
        own_key="openai/main",
        person="p-17",
        metadata={"user": "u-17"},
    )
    assert (delivery.source, delivery.deliveries, delivery.traceparent) == (BULK, 1, TRACEPARENT)
    assert delivery.raw.startswith(b"{")


async def test_work_is_taken_with_everything_tried_before(rig: Rig) -> None:
    sent = replace(
        work(),
        job=replace(job(), cloud=CLOUD_DENY, regions=("us",)),
        reason=Reason.LOW_CONFIDENCE,
        hop=2,
        attempts=(replace(FAILED, provider="groq", requested_model="llama-3.1-8b", hop=HOP), ANSWERED),
        intake=Hop(1.0, 1.5, 2),
    )

    await rig.desk("acme").submit([submission()])
    [taken] = await rig.queue.take(BULK, 1, PATIENCE_SECONDS)
    await rig.queue.commit([Transition((sent,), Ack(taken), TRACEPARENT)])
    [delivery] = await rig.queue.take(SMALL, 10, PATIENCE_SECONDS)

    assert delivery.body == sent
    assert delivery.traceparent == TRACEPARENT


async def test_two_tenants_may_submit_a_job_of_the_same_id(rig: Rig) -> None:
    assert await rig.desk("acme").submit([submission()]) == [True]
    assert await rig.desk("globex").submit([submission()]) == [True]

    assert [delivery.body.tenant for delivery in await rig.queue.take(BULK, 10, PATIENCE_SECONDS)] == ["acme", "globex"]


async def test_a_repeated_hand_over_is_dropped_and_the_next_hop_is_not(rig: Rig) -> None:
    assert await rig.queue.publish([work(hop=1), work(hop=1), work(hop=2)]) == [NEW, REPEAT, NEW]

    deliveries = await rig.queue.take(SMALL, 10, PATIENCE_SECONDS)

    assert [delivery.body.hop for delivery in deliveries] == [1, 2]


async def test_a_job_submitted_twice_is_stored_once(rig: Rig) -> None:
    assert await rig.desk("acme").submit([submission(), submission()]) == [True, False]
    assert len(await rig.queue.take(BULK, 10, PATIENCE_SECONDS)) == 1


async def test_an_attempt_is_booked_once_and_so_is_the_end_of_a_job_that_never_ran(rig: Rig) -> None:
    booked = LedgerEntry("job-000000000000", "acme", Lane.BULK, 6.0, Reason.ROUTED, "nudge", "paid", attempt=FAILED)
    ended = LedgerEntry("job-000000000000", "acme", Lane.BULK, 7.0, Reason.INVALID, status=Status.REJECTED)

    stored = await rig.queue.publish([booked, ended, booked, ended])

    assert stored == [NEW, NEW, REPEAT, REPEAT]
    without_hint = replace(FAILED, outcome=Failure(FailureKind.RATE_LIMITED, "busy"))
    assert [decode_ledger(body) for body in await rig.stored("LEDGER")] == [
        replace(booked, attempt=without_hint),
        ended,
    ]


@pytest.mark.parametrize("body", [b'{"id": "\xc3\xbc"}', b"\xff\x00 no text", b""])
async def test_a_dead_letter_keeps_the_message_whole_and_once(rig: Rig, body: bytes) -> None:
    letter = DeadLetter("acme", "job-000000000000", Reason.INVALID, Problem("id: is required", "id"), body, 9.0)

    assert await rig.queue.publish([letter, letter]) == [NEW, REPEAT]
    assert [decode_dead(body) for body in await rig.stored("DEAD")] == [letter]


async def test_a_submission_that_cannot_be_addressed_is_refused_at_the_desk(rig: Rig) -> None:
    with pytest.raises(InvalidJob, match=r"^id: "):
        await rig.desk("acme").submit([replace(submission(), id="two.tokens.of.a.subject")])
    with pytest.raises(InvalidJob, match=r"^request: "):
        await rig.desk("acme").submit([replace(submission(), request={"messages": [{"content": "\ud83d"}]})])


async def test_settling_and_publishing_nothing_is_no_error(rig: Rig) -> None:
    assert await rig.queue.publish([]) == []
    await rig.queue.settle([])
    await rig.queue.extend([])


async def test_of_an_interactive_job_its_tenant_is_told_and_of_no_other(rig: Rig) -> None:
    told = rig.queue.arrivals()
    first = asyncio.ensure_future(anext(told))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not first.done():  # nobody says when listening has begun
            await rig.desk("globex").submit([submission(0, Lane.STANDARD)])
            await rig.inject("jobs.interactive.acme", b"{}")
            await asyncio.wait((first,), timeout=0.05)
    assert first.result() == JobsOf(Lane.INTERACTIVE, "acme")
    await told.aclose()
