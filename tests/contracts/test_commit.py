"""A queue commits transitions: what follows is stored first, and only then a delivery is settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet import faults
from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import Ack, AnyDelivery, Committed, JobsOf, NotSettled, Retry, Transition, WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status, Work
from fleet.model.submission import Submission

BULK, SMALL = JobsOf(Lane.BULK), WorkOf("llama-8b", Lane.BULK)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNWRITABLE = Answer({"role": "assistant", "content": "half a pair: \ud83d"}, "stop", Usage(1, 1), "mixtral")


async def taken(rig: Rig, jobs: int = 1) -> list[AnyDelivery]:
    request = {"messages": [{"role": "user", "content": "Hello."}]}
    await rig.desk("acme").submit([Submission(f"job-{n:012d}", "nudge", request, lane=Lane.BULK) for n in range(jobs)])
    return list(await rig.queue.take(BULK, jobs, PATIENCE_SECONDS))


def result(delivery: AnyDelivery) -> Result:
    return Result(delivery.body.ref.id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, finished_at=5.0, task="nudge")


def unwritable(delivery: AnyDelivery) -> Result:
    return replace(result(delivery), answer=UNWRITABLE)


def done(delivery: AnyDelivery) -> Transition:
    return Transition((result(delivery),), Ack(delivery))


async def waiting(rig: Rig) -> int:
    return sum((await rig.queue.depths()).jobs.values())


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Ask for a fault until the test ends."""
    monkeypatch.setattr(faults, "point", faults.point)
    monkeypatch.setattr(faults, "splits_letters", faults.splits_letters)
    return faults.arm


async def test_what_follows_is_stored_and_the_delivery_is_done(rig: Rig) -> None:
    [delivery] = await taken(rig)
    assert await rig.queue.commit([done(delivery)]) == [Committed()]
    assert await rig.desk("acme").result(delivery.body.ref.id) == result(delivery)
    assert await waiting(rig) == 0


async def test_what_follows_goes_under_the_trace_of_its_transition(rig: Rig) -> None:
    [delivery] = await taken(rig)
    work = Work(delivery.body, "llama-8b", Reason.ROUTED)
    await rig.queue.commit([Transition((work,), Ack(delivery), TRACEPARENT)])
    [next_delivery] = await rig.queue.take(SMALL, 1, PATIENCE_SECONDS)
    assert (next_delivery.body, next_delivery.traceparent) == (work, TRACEPARENT)


async def test_a_job_that_waits_is_handed_out_again(rig: Rig) -> None:
    [delivery] = await taken(rig)
    assert await rig.queue.commit([Transition((), Retry(delivery))]) == [Committed()]
    [again] = await rig.queue.take(BULK, 1, PATIENCE_SECONDS)
    assert (again.body, again.deliveries) == (delivery.body, 2)


async def test_where_something_is_refused_the_delivery_is_not_settled_and_its_neighbours_are(rig: Rig) -> None:
    first, second = await taken(rig, 2)
    refused, good = unwritable(first), result(second)
    committed = await rig.queue.commit([Transition((refused,), Ack(first)), Transition((good,), Ack(second))])
    assert committed == [Committed(refused=(refused,), settled=False), Committed()]
    assert await rig.desk("acme").result(first.body.ref.id) is None
    assert await rig.desk("acme").result(second.body.ref.id) == good
    assert await waiting(rig) == 1
    assert await rig.queue.commit([done(first)]) == [Committed()]
    assert await waiting(rig) == 0


async def test_what_is_refused_aside_keeps_nothing_up(rig: Rig) -> None:
    [delivery] = await taken(rig)
    refused = replace(unwritable(delivery), job_id="job-aside-000000000")
    committed = await rig.queue.commit([replace(done(delivery), aside=(refused,))])
    assert committed == [Committed(refused=(refused,))]
    assert await rig.desk("acme").result(delivery.body.ref.id) == result(delivery)
    assert await waiting(rig) == 0


async def test_a_transition_that_is_committed_again_changes_nothing_and_names_what_was_there(rig: Rig) -> None:
    [delivery] = await taken(rig)
    other = replace(result(delivery), status=Status.FAILED)
    await rig.queue.commit([done(delivery)])
    again = await rig.queue.commit([Transition((other,), Ack(delivery))])
    assert again == [Committed(repeated=(other,))]
    assert await rig.desk("acme").result(delivery.body.ref.id) == result(delivery)
    assert len(await rig.stored("RESULTS")) == 1


async def test_nothing_is_acknowledged_before_what_follows_is_stored(rig: Rig, armed: Callable[[str], None]) -> None:
    """A crash between the two repeats the step and loses nothing."""
    [delivery] = await taken(rig)
    armed("intake.published=error@1")
    with pytest.raises(NotSettled) as caught:
        await rig.queue.commit([done(delivery)])
    assert caught.value.committed == [Committed()]
    assert await rig.desk("acme").result(delivery.body.ref.id) == result(delivery)
    assert await waiting(rig) == 1
    assert await rig.queue.commit([done(delivery)]) == [Committed(repeated=(result(delivery),))]
    assert await waiting(rig) == 0


async def test_the_fault_points_tell_a_step_of_intake_from_one_of_a_runner(
    rig: Rig, armed: Callable[[str], None]
) -> None:
    [delivery] = await taken(rig)
    await rig.queue.commit([Transition((Work(delivery.body, "llama-8b", Reason.ROUTED),), Ack(delivery))])
    [work] = await rig.queue.take(SMALL, 1, PATIENCE_SECONDS)
    armed("runner.published=drop@1")
    await rig.queue.commit([done(work)])
    assert (await rig.queue.depths()).by_target() == {"llama-8b": 1}
    assert await rig.desk("acme").result(work.body.ref.id) == result(work)


async def test_committing_nothing_is_no_error(rig: Rig) -> None:
    assert await rig.queue.commit([]) == []
