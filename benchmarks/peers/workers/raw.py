"""The ceiling: stock nats-py, pull 256, publish 256 results with ids, wait for every PubAck, then acknowledge."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import nats
import uvloop
from nats.js.api import ConsumerConfig

from benchmarks.peers.chat import answer_soon
from benchmarks.peers.work import NATS, REDELIVERY_SECONDS, body_of, new_job, print_times, told

BATCH = 256


async def _open() -> tuple[Any, Any]:
    connection = await nats.connect(os.environ[NATS])
    stream = connection.jetstream()
    await stream.add_stream(name="IN", subjects=["in.>"], retention="workqueue")
    await stream.add_stream(name="OUT", subjects=["out.>"])
    return connection, stream


async def work(_: int) -> None:
    _connection, stream = await _open()
    config = ConsumerConfig(ack_wait=REDELIVERY_SECONDS, max_ack_pending=10 * BATCH)
    pull = await stream.pull_subscribe("in.>", durable="raw", config=config)
    while True:
        try:
            messages = await pull.fetch(BATCH, timeout=30)
        except nats.errors.TimeoutError:
            continue
        await asyncio.gather(*(_answer(stream, message) for message in messages))
        for message in messages:
            await message.ack()


async def _answer(stream: Any, message: Any) -> None:
    job = message.subject.removeprefix("in.")
    answer = await answer_soon(message.data.decode())
    await stream.publish(f"out.{job}", answer.encode(), headers={"Nats-Msg-Id": job})


async def fill(jobs: int) -> None:
    connection, stream = await _open()
    for start in range(0, jobs, BATCH):
        await asyncio.gather(*(_submit(stream, new_job()) for _ in range(min(BATCH, jobs - start))))
    await connection.close()


async def _submit(stream: Any, job: str) -> None:
    await stream.publish(f"in.{job}", body_of(job).encode(), headers={"Nats-Msg-Id": job})


async def idle(jobs: int) -> None:
    connection, stream = await _open()
    results = await connection.subscribe("out.>")
    times = []
    for _ in range(jobs):
        started = time.perf_counter()
        await _submit(stream, new_job())
        await results.next_msg(timeout=30)
        times.append((time.perf_counter() - started) * 1000)
    await connection.close()
    print_times(times)


if __name__ == "__main__":
    verb, count = told()
    uvloop.run({"work": work, "fill": fill, "idle": idle}[verb](count))
