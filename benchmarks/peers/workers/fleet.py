"""Fleet: the process of `fleet dispatcher` with one target that answers at once; its clients are Fleet's own."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import uvloop

from benchmarks.instant import ANSWER, InstantBackend
from benchmarks.peers.chat import answer_soon
from benchmarks.peers.work import ENGINE, NATS, RUNS, TASK, new_job, note_run, print_times, request_of, told
from fleet.app import apply_topology
from fleet.app.worker import DispatcherProcess
from fleet.client import FleetClient, submission
from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import Status
from fleet.ports import Backend
from fleet.settings.environment import load

TENANT = "peers"
TARGET = "llama-8b"
BATCH = 256
PROVIDER_MODEL = "gpt-4o"


class ListedBackend(InstantBackend):
    """Answers at once, and lists what it ran."""

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        for call in calls:
            note_run(call.request["messages"][0]["content"])
        async for group in super().run(calls):
            yield group


class EngineBackend(InstantBackend):
    """Asks the engine, all calls of a batch at once, and hands answers out as they come."""

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        for answered in asyncio.as_completed([self._ask(*each) for each in enumerate(calls)]):
            yield [await answered]

    async def _ask(self, index: int, call: Call) -> tuple[int, Outcome]:
        text = await answer_soon(json.dumps({"messages": call.request["messages"]}))
        return index, replace(ANSWER, message={"role": "assistant", "content": text})


def target() -> Backend:
    if ENGINE in os.environ:
        return EngineBackend()
    return ListedBackend() if RUNS in os.environ else InstantBackend()


class InstantDispatcher(DispatcherProcess):
    """The plain dispatcher process with the benchmark's target beside the providers that have a key."""

    def _backends(self) -> dict[str, Backend]:
        return {TARGET: target(), **(super()._backends() if "OPENAI_API_KEY" in os.environ else {})}


async def work(_: int) -> None:
    await InstantDispatcher(load(nats_url=os.environ[NATS], log_level="warning"), with_ray=False).run()


async def fill(jobs: int) -> None:
    await apply_topology(os.environ[NATS])
    async with FleetClient.connect(os.environ[NATS], tenant=TENANT) as client:
        for start in range(0, jobs, BATCH):
            ids = [new_job() for _ in range(min(BATCH, jobs - start))]
            await client.submit_many([submission(id=job, task=TASK, request=request_of(job)) for job in ids])


async def idle(jobs: int) -> None:
    async with FleetClient.connect(os.environ[NATS], tenant=TENANT) as client:
        print_times([await run_ms(client) for _ in range(jobs)])


async def calls(jobs: int) -> None:
    """Run jobs on the provider that the dispatcher has a key for, one after the other."""
    async with FleetClient.connect(os.environ[NATS], tenant=TENANT) as client:
        print_times([await run_ms(client, PROVIDER_MODEL) for _ in range(jobs)])


async def run_ms(client: FleetClient, model: str = TARGET) -> float:
    """Return the milliseconds of one `client.run`.

    Raises: RuntimeError if the model did not answer.
    """
    job = new_job()
    started = time.perf_counter()
    request = {**request_of(job), "model": model}
    result = await client.run(id=job, task=TASK, request=request, lane=Lane.INTERACTIVE)
    if result.status not in (Status.SUCCEEDED, Status.BEST_EFFORT):  # the engine's answer need not be good enough
        raise RuntimeError(f"a job went astray: {result.status} {result.reason} {result.problem}")
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    verb, count = told()
    uvloop.run({"work": work, "fill": fill, "idle": idle, "calls": calls}[verb](count))
