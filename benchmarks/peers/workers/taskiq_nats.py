"""taskiq-nats: the JetStream pull broker, acknowledged when the result is saved; results in Redis.

Of the two result stores its documentation names, Redis carries twice what NATS' object store does.
The worker: `taskiq worker benchmarks.peers.workers.taskiq_nats:broker --workers 1 --ack-type when_saved`.
"""

from __future__ import annotations

import asyncio
import os
import time

from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from taskiq_nats import PullBasedJetStreamBroker
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.peers.chat import answer_soon
from benchmarks.peers.work import NATS, REDELIVERY_SECONDS, REDIS, body_of, new_job, print_times, told

BATCH = 100
"""Jobs pulled and run at once: taskiq's own default of the latter."""

DURABLE = "taskiq"
PULL_SECONDS = 5.0
"""The life of a pull; without one nats-py waits until the batch is full."""

POLL_SECONDS = 0.001

broker = PullBasedJetStreamBroker(
    os.environ[NATS],
    stream_name="TASKS",
    durable=DURABLE,
    stream_config=StreamConfig(retention=RetentionPolicy.WORK_QUEUE),
    consumer_config=ConsumerConfig(durable_name=DURABLE, ack_wait=REDELIVERY_SECONDS, max_ack_pending=10 * BATCH),
    pull_consume_batch=BATCH,
    pull_consume_timeout=PULL_SECONDS,
).with_result_backend(RedisAsyncResultBackend(f"unix://{os.environ[REDIS]}?db=1", result_ex_time=86_400))


@broker.task(task_name="answer")
async def answer(body: str) -> str:
    return await answer_soon(body)


async def fill(jobs: int) -> None:
    for start in range(0, jobs, BATCH):
        ids = [new_job() for _ in range(min(BATCH, jobs - start))]
        await asyncio.gather(*(answer.kicker().with_task_id(job).kiq(body_of(job)) for job in ids))


async def idle(jobs: int) -> None:
    times = []
    for _ in range(jobs):
        job = new_job()
        started = time.perf_counter()
        task = await answer.kicker().with_task_id(job).kiq(body_of(job))
        await task.wait_result(check_interval=POLL_SECONDS, timeout=30)
        times.append((time.perf_counter() - started) * 1000)
    print_times(times)


async def main() -> None:
    verb, count = told()
    await broker.startup()
    await {"fill": fill, "idle": idle}[verb](count)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
