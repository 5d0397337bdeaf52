"""What every job queue counts."""

from __future__ import annotations

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig
from queue_samples import BULK, SMALL, job, submission, work

from fleet.model.delivery import Ack, Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Work


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
