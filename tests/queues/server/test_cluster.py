"""Three real servers, every stream on all of them: a leader is killed under load, and the accounts still balance.

What was measured is left in build/leader_kill.json, where the documentation takes it from.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from memory_fleet import succeeded
from patience import PATIENCE_SECONDS, eventually
from production_nats import ProductionNats

from fleet.model.delivery import Ack, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Result
from fleet.model.submission import Submission
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply

REPORT = Path("build/leader_kill.json")
BATCH = 20
RESULTS_BETWEEN = 200
"""Jobs answered before a leader is killed, and again after it, before the next one is."""

REQUEST = {"messages": [{"role": "user", "content": "Good morning"}]}

pytestmark = pytest.mark.e2e


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[ProductionNats, Connection]]:
    with ProductionNats(tmp_path, tenants=("acme",), servers=3, options=("--dev-ca", "--sync", "2m")) as servers:
        operator = await connect(servers.url, login=servers.login("operator"))
        await until_done(lambda: apply(operator.nats.jetstream(), TopologySpec(replicas=3)))
        yield servers, operator
        await operator.close()


async def until_done(step):
    """What every client of the fleet does in an outage: the same again."""

    async def look():
        try:
            return [await step()]
        except QueueUnavailable:
            return []

    return (await eventually(look))[0]


@dataclass
class Load:
    """Jobs of acme on their way through a fleet of one dispatcher, and when each result was stored."""

    servers: ProductionNats
    ids: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    stored_at: list[float] = field(default_factory=list)
    stopped: bool = False
    more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        desk = await JetStreamDesk.connect(self.servers.url, "acme", self.servers.login("acme"))
        connection = await connect(self.servers.url, login=self.servers.login("dispatcher"))
        async with asyncio.TaskGroup() as tasks:
            submitting = tasks.create_task(self._submit(desk))
            tasks.create_task(self._answer(JetStreamQueue(connection, 5.0), submitting))
            yield self
            self.stopped = True
        await desk.close()
        await connection.close()

    async def _submit(self, desk: JetStreamDesk) -> None:
        for first in itertools.count(step=BATCH):
            jobs = [Submission(f"job-of-acme-{first + n:08d}", "greet", REQUEST) for n in range(BATCH)]
            await until_done(lambda jobs=jobs: desk.submit(jobs))
            self.ids += [job.id for job in jobs]
            async with self.more:
                # Never far ahead of the answers: the load stays what the cluster can carry.
                await self.more.wait_for(lambda: len(self.ids) < len(self.stored_at) + 10 * BATCH or self.stopped)
            if self.stopped:
                return

    async def _answer(self, queue: JetStreamQueue, submitting: asyncio.Task[None]) -> None:
        while not (submitting.done() and self.answered.issuperset(self.ids)):
            # Where an acknowledgement is not confirmed, the job may come again: its result is refused then.
            with suppress(QueueUnavailable):
                await self._answer_some(queue)
            async with self.more:
                self.more.notify_all()

    async def _answer_some(self, queue: JetStreamQueue) -> None:
        deliveries = await queue.take(JobsOf(Lane.STANDARD), 4 * BATCH, 0.5)
        jobs = [delivery.body for delivery in deliveries]
        assert all(isinstance(job, Job) for job in jobs)
        await until_done(lambda: queue.publish([post for job in jobs for post in posts_of(job)]))
        self.stored_at += [time.monotonic()] * len(jobs)
        self.answered |= {job.id for job in jobs}
        await queue.settle([Ack(delivery) for delivery in deliveries])

    async def until_stored(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self.more:
            await self.more.wait_for(lambda: len(self.stored_at) >= count)


def posts_of(job: Job) -> tuple[Result, LedgerEntry]:
    entry = LedgerEntry(job.id, job.tenant, job.lane, 1.0, Reason.CONFIDENT)
    return succeeded(job, "Good morning to you"), entry


async def leader_of(operator: Connection, stream: str) -> str:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            info = (await operator.nats.jetstream().stream_info(stream)).cluster
            if info.leader:
                return info.leader


@pytest.mark.proves("Killing the leader of three NATS servers costs no job and doubles none", how="real")
async def test_a_killed_leader_costs_no_job_and_doubles_none(cluster: tuple[ProductionNats, Connection]) -> None:
    servers, operator = cluster
    pauses: dict[str, float] = {}
    async with Load(servers).running() as load:
        for stream in ("JOBS", "RESULTS"):
            await load.until_stored(len(load.stored_at) + RESULTS_BETWEEN)
            leader = await leader_of(operator, stream)
            killed_at = time.monotonic()
            servers.kill(leader)
            await load.until_stored(len(load.stored_at) + RESULTS_BETWEEN)
            pauses[stream] = longest_pause(load.stored_at, killed_at)
            servers.start(leader)
            await asyncio.to_thread(servers.ready)

    js = operator.nats.jetstream()
    state = (await js.stream_info("RESULTS", subjects_filter=">")).state
    report(load.ids, state.subjects, pauses)
    assert state.subjects == {f"results.acme.{job_id}": 1 for job_id in load.ids}
    assert (await js.stream_info("JOBS")).state.messages == 0
    assert (await js.stream_info("LEDGER")).state.messages == len(load.ids)


def longest_pause(stored_at: Sequence[float], since: float) -> float:
    """Seconds without a stored result, the longest since `since`."""
    moments = [since, *(at for at in stored_at if at >= since)]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def report(ids: Sequence[str], subjects: dict[str, int], pauses: dict[str, float]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    figures = {
        "accepted": len(ids),
        "results": sum(subjects.values()),
        "lost": len(set(ids)) - len(subjects),
        "duplicates": sum(subjects.values()) - len(subjects),
        "pause_seconds": {stream: round(pause, 2) for stream, pause in pauses.items()},
    }
    REPORT.write_text(json.dumps(figures, indent=2) + "\n")


async def test_of_two_results_at_the_same_moment_one_is_stored_and_both_senders_learn_it(
    cluster: tuple[ProductionNats, Connection],
) -> None:
    servers, _ = cluster
    dispatchers = [JetStreamQueue(await connect(servers.url, login=servers.login("dispatcher"))) for _ in range(2)]
    jobs = [Job(f"job-of-acme-{n:08d}", "acme", Lane.BULK, "greet", "paid", REQUEST, 1.0) for n in range(200)]

    stored = await asyncio.gather(*(_stored_by(queue, [succeeded(job, "hi") for job in jobs]) for queue in dispatchers))

    assert [sorted(pair) for pair in zip(*stored, strict=True)] == [["new", "repeat"]] * len(jobs)


async def _stored_by(queue: JetStreamQueue, results: Sequence[Result]) -> list[str]:
    answers = await until_done(lambda: queue.publish(results))
    return [answer.name.lower() for answer in answers]


async def test_a_tenant_is_served_whichever_server_it_is_connected_to(
    cluster: tuple[ProductionNats, Connection],
) -> None:
    servers, operator = cluster
    for number, url in enumerate(servers.url.split(",")):
        desk = await JetStreamDesk.connect(url, "acme", servers.login("acme"))
        job_id = f"job-of-acme-at-{number:08d}"
        async with aclosing(desk.results()) as results:
            heard = asyncio.ensure_future(anext(results))
            assert await desk.submit([Submission(job_id, "greet", REQUEST)]) == [True]
            published = await _publish_until(heard, JetStreamQueue(operator), job_id)
            assert (await heard).job_id in published
        # Two of three servers confirmed it; the third, which may be ours, has it when it has.
        found = await eventually(partial(desk.result, published[0]))
        assert found is not None
        assert found.job_id == published[0]
        await desk.close()


async def _publish_until(heard: asyncio.Future[Result], queue: JetStreamQueue, job_id: str) -> list[str]:
    """Publish results until one is heard, and return the ids of their jobs.

    Servers tell each other of a subscription in their own time, and no reply says that all of them know.
    """
    published: list[str] = []
    while not heard.done():
        published.append(f"{job_id}-{len(published)}")
        job = Job(published[-1], "acme", Lane.BULK, "greet", "paid", REQUEST, 1.0)
        await queue.publish([succeeded(job, "hi")])
        await asyncio.wait([heard], timeout=1.0)
    return published


async def test_a_majority_is_waited_for_without_a_delivery_being_lost(
    cluster: tuple[ProductionNats, Connection],
) -> None:
    servers, _ = cluster
    desk = await JetStreamDesk.connect(servers.url, "acme", servers.login("acme"))
    queue = JetStreamQueue(await connect(servers.url, login=servers.login("dispatcher")))
    ids = {f"job-of-acme-{n:08d}" for n in range(300)}
    await until_done(lambda: desk.submit([Submission(job_id, "greet", REQUEST) for job_id in sorted(ids)]))

    taken = []
    limits = itertools.cycle((1, 7, 40, 1000))
    while len(taken) < len(ids):
        deliveries = await queue.take(JobsOf(Lane.STANDARD), next(limits), PATIENCE_SECONDS)
        taken += [(delivery.body.id, delivery.deliveries) for delivery in deliveries]
        await queue.settle([Ack(delivery) for delivery in deliveries])

    assert sorted(taken) == [(job_id, 1) for job_id in sorted(ids)]
    assert await queue.take(JobsOf(Lane.STANDARD), 1, 0.1) == []
