"""What every job queue and every desk does, whatever it is made of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Hop, Usage
from fleet.model.delivery import Ack, Depths, JobsOf, Retry, Stored, Transition, WorkOf
from fleet.model.errors import InvalidJob
from fleet.model.job import CLOUD_DENY, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Malformed, Problem, Result, Status, Work
from fleet.model.submission import Submission
from queues.wire.dead_letter import decode_dead
from queues.wire.ledger import decode_ledger

OpenRig = Callable[..., Awaitable[Rig]]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOP = Hop(1.25, 1.5, 3, "0123456789abcdef", 8)
NEW, REPEAT, REFUSED = Stored.NEW, Stored.REPEAT, Stored.REFUSED
BULK = JobsOf(Lane.BULK)
SMALL = WorkOf("llama-8b", Lane.BULK)


def submission(number: int = 0, lane: Lane = Lane.BULK) -> Submission:
    request = {"messages": [{"role": "user", "content": f"Remind me, número {number}"}], "temperature": 0.1}
    return Submission(id=f"job-{number:012d}", task="nudge", request=request, lane=lane)


def job(number: int = 0, tenant: str = "acme") -> Job:
    sent = submission(number)
    return Job(sent.id, tenant, Lane.BULK, "nudge", Plan.PAID, sent.request, submitted_at=1_790_000_000.25)


def work(number: int = 0, hop: int = 0, target: str = "llama-8b") -> Work:
    return Work(job(number), target, Reason.ROUTED, hop)


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


def result(number: int = 0, tenant: str = "acme", status: Status = Status.SUCCEEDED) -> Result:
    return Result(f"job-{number:012d}", tenant, status, Reason.CONFIDENT, finished_at=5.0, task="nudge")


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


async def test_a_take_returns_at_once_with_what_is_there(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(3)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        deliveries = await rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS)

    assert [delivery.body.id for delivery in deliveries] == [submission(number).id for number in range(3)]


async def test_a_waiting_take_returns_with_the_first_job_to_come(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, 0.05) == []
    await rig.desk("acme").submit([submission()])

    async with asyncio.timeout(PATIENCE_SECONDS):
        [delivery] = await waiting

    assert delivery.body.id == submission().id


async def test_a_take_is_empty_when_nothing_comes_in_time(rig: Rig) -> None:
    assert await rig.queue.take(BULK, 10, 0.05) == []
    assert await rig.queue.take(SMALL, 10, 0) == []


async def test_a_take_brings_no_more_than_asked_for_and_leaves_the_rest(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(5)])

    first = await rig.queue.take(BULK, 2, PATIENCE_SECONDS)
    rest = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert (len(first), len(rest)) == (2, 3)
    assert {delivery.deliveries for delivery in [*first, *rest]} == {1}


async def test_a_cancelled_take_swallows_nothing(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, 0.05) == []
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await rig.desk("acme").submit([submission()])

    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert delivery.deliveries == 1


async def test_lanes_and_targets_are_queues_of_their_own(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(1, Lane.INTERACTIVE), submission(2, Lane.BULK)])
    await rig.queue.publish([work(3), work(4, target="mixtral")])

    taken = await asyncio.gather(
        rig.queue.take(JobsOf(Lane.INTERACTIVE), 10, PATIENCE_SECONDS),
        rig.queue.take(BULK, 10, PATIENCE_SECONDS),
        rig.queue.take(SMALL, 10, PATIENCE_SECONDS),
        rig.queue.take(WorkOf("mixtral", Lane.BULK), 10, PATIENCE_SECONDS),
        rig.queue.take(WorkOf("llama-8b", Lane.STANDARD), 10, 0),
    )

    assert [[_number(delivery.body) for delivery in deliveries] for deliveries in taken] == [[1], [2], [3], [4], []]


def _number(body: Job | Work | Malformed) -> int:
    assert not isinstance(body, Malformed)
    taken = body.job if isinstance(body, Work) else body
    return int(taken.id.removeprefix("job-"))


async def test_two_dispatchers_never_hold_the_same_job(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(40)])

    taken = []
    while len(taken) < 40:
        pair = await asyncio.gather(rig.queue.take(BULK, 7, 0.1), rig.rival.take(BULK, 7, 0.1))
        taken += [delivery.body.id for deliveries in pair for delivery in deliveries]

    assert sorted(taken) == [submission(number).id for number in range(40)]


async def test_a_job_whose_lease_ends_comes_back_until_it_is_acknowledged(open_rig: OpenRig) -> None:
    rig = await open_rig(ack_wait_seconds=0.3)
    await rig.desk("acme").submit([submission()])

    [first] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    [second] = await rig.rival.take(BULK, 10, PATIENCE_SECONDS)
    await rig.rival.settle([Ack(second)])

    assert (first.deliveries, second.deliveries) == (1, 2)
    assert second.body == first.body
    assert await rig.queue.take(BULK, 10, 1.0) == []


async def test_the_first_holder_may_still_acknowledge_after_its_lease(open_rig: OpenRig) -> None:
    rig = await open_rig(ack_wait_seconds=0.3)
    await rig.desk("acme").submit([submission()])
    [first] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    [second] = await rig.rival.take(BULK, 10, PATIENCE_SECONDS)

    await rig.queue.settle([Ack(first)])
    await rig.rival.settle([Ack(second)])

    assert await rig.queue.take(BULK, 10, 1.0) == []


async def test_an_extended_lease_starts_anew(open_rig: OpenRig) -> None:
    rig = await open_rig(ack_wait_seconds=2.0)
    await rig.queue.publish([work()])
    [delivery] = await rig.queue.take(SMALL, 10, PATIENCE_SECONDS)

    longer_than_a_lease = time.monotonic() + 2.5
    while time.monotonic() < longer_than_a_lease:
        await rig.queue.extend([delivery])
        assert await rig.rival.take(SMALL, 10, 0.1) == []
    [again] = await rig.rival.take(SMALL, 10, PATIENCE_SECONDS)

    assert again.deliveries == 2


async def test_a_retried_job_comes_back_after_its_delay_and_not_before(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(1), submission(2)])
    deliveries = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    soon, later = deliveries

    asked_at = time.monotonic()
    await rig.queue.settle([Retry(later, delay_seconds=1.0), Retry(soon)])
    [first] = await rig.queue.take(BULK, 1, PATIENCE_SECONDS)
    [second] = await rig.queue.take(BULK, 1, PATIENCE_SECONDS)
    waited_seconds = time.monotonic() - asked_at

    assert (first.body, first.deliveries) == (soon.body, 2)
    assert (second.body, second.deliveries) == (later.body, 2)
    assert waited_seconds > 0.95  # the broker's clock is a little coarser than ours


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


async def test_depths_count_what_waits_and_what_is_in_flight_by_target(rig: Rig) -> None:
    assert await rig.queue.depths() == Depths()
    await rig.queue.publish([work(1), work(2), work(3, target="mixtral")])
    deliveries = await rig.queue.take(SMALL, 1, PATIENCE_SECONDS)
    before = (await rig.queue.depths()).by_target()

    await rig.queue.settle([Ack(delivery) for delivery in deliveries])

    assert before == {"llama-8b": 2, "mixtral": 1}
    assert (await rig.queue.depths()).by_target() == {"llama-8b": 1, "mixtral": 1}


async def test_the_oldest_message_of_a_source_counts_until_it_is_acknowledged(rig: Rig) -> None:
    sources = (BULK, JobsOf(Lane.INTERACTIVE), SMALL, WorkOf("mixtral", Lane.BULK))
    assert await rig.queue.oldest(sources) == [None] * 4
    await rig.desk("acme").submit([submission(1)])
    await rig.desk("globex").submit([submission(2)])
    await rig.queue.publish([work(1), work(2)])
    [first, second] = await rig.queue.take(SMALL, 2, 1.0)
    bulk, interactive, small, mixtral = await rig.queue.oldest(sources)
    assert (interactive, mixtral) == (None, None)
    assert bulk is not None and bulk <= first.stored_at
    assert small == pytest.approx(first.stored_at, abs=1e-3)
    await rig.queue.settle([Ack(first)])
    assert (await rig.queue.oldest([SMALL]))[0] == pytest.approx(second.stored_at, abs=1e-3)


async def test_depths_tell_jobs_by_lane_and_tenant_and_work_by_target_lane_and_tenant(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(1), submission(2), submission(3, Lane.INTERACTIVE)])
    await rig.desk("globex").submit([submission(4, Lane.STANDARD)])
    await rig.queue.publish([work(1), work(2, target="mixtral"), Work(job(3, "globex"), "mixtral", Reason.ROUTED)])
    await rig.queue.take(JobsOf(Lane.BULK, "acme"), 1, PATIENCE_SECONDS)

    depths = await rig.queue.depths()

    assert depths.jobs == {
        JobsOf(Lane.BULK, "acme"): 2,
        JobsOf(Lane.INTERACTIVE, "acme"): 1,
        JobsOf(Lane.STANDARD, "globex"): 1,
    }
    assert depths.work == {SMALL: 1, WorkOf("mixtral", Lane.BULK): 2}
    assert depths.in_flight == {"acme": 2, "globex": 1}


async def test_a_tenants_jobs_are_taken_without_those_of_others(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(number) for number in range(50)])
    await rig.desk("globex").submit([submission(90), submission(91)])

    theirs = await rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, PATIENCE_SECONDS)
    ours = await rig.rival.take(JobsOf(Lane.BULK, "acme"), 3, PATIENCE_SECONDS)

    assert [_number(delivery.body) for delivery in theirs] == [90, 91]
    assert [_number(delivery.body) for delivery in ours] == [0, 1, 2]
    assert await rig.queue.take(JobsOf(Lane.STANDARD, "acme"), 10, 0) == []
    assert await rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, 0) == []


async def test_a_waiting_take_returns_with_the_first_job_of_its_tenant(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(JobsOf(Lane.BULK, "globex"), 10, 10 * PATIENCE_SECONDS))
    assert await rig.queue.take(JobsOf(Lane.BULK, "acme"), 1, 0.05) == []
    await rig.desk("acme").submit([submission(1)])
    await rig.desk("globex").submit([submission(2)])

    async with asyncio.timeout(PATIENCE_SECONDS):
        [delivery] = await waiting

    assert _number(delivery.body) == 2


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


class NotedLock(asyncio.Lock):
    """A lock that tells when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> bool:
        self.wanted.set()
        return await super().acquire()


async def test_a_large_take_lets_others_read_before_all_of_it_is_read(rig: Rig) -> None:
    await rig.desk("acme").submit([submission(n) for n in range(64)])
    lock = rig.queue.reading = NotedLock()
    async with lock:
        lock.wanted.clear()
        taking = asyncio.create_task(rig.queue.take(BULK, 64, 0.0))
        await lock.wanted.wait()
    async with lock:
        assert not taking.done()
    assert len(await taking) == 64
