"""How long every job queue leaves a delivery with whoever has taken it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from patience import PATIENCE_SECONDS
from queue_rigs import Rig
from queue_samples import BULK, SMALL, submission, work

from fleet.model.delivery import Ack, Retry

OpenRig = Callable[..., Awaitable[Rig]]


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
