"""The processes that are killed: a dispatcher and a client, forked from a server that has imported everything.

The dispatcher is the plain process of `fleet dispatcher`, with the providers' own SDKs, real NATS, and a self-hosted
target beside them that answers at once: surely, or so unsurely that the job escalates to a paid target.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import anthropic
import groq
import openai
import uvloop

from fleet import faults
from fleet.app.worker import DispatcherProcess
from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.call import Call
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane, Plan
from fleet.model.submission import Submission
from fleet.ports import Backend
from fleet.settings.environment import load
from queues.jetstream.desk import JetStreamDesk

PRELOADED = (openai, anthropic, groq)
TENANT = "chaos"
BATCH = 20
LANES = (Lane.STANDARD, Lane.BULK, Lane.INTERACTIVE)
STAND_IN = "llama-8b"
STAND_IN_SECONDS = 0.005
UNSURE = "unsure"
RESUBMIT_SECONDS = 0.05
CLOCK_STEP_SECONDS = 3600.0
CLOCK_ON, CLOCK_BACK = signal.SIGUSR1, signal.SIGUSR2
"""Signals that make a dispatcher's wall clock jump."""

_SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
_UNSURE = Features(-3.0, -1.5, -2.0, -1.9, -1.8, 2, 0.1, 1.5)


@dataclass(frozen=True, slots=True)
class Place:
    """The addresses and settings a child needs, and the folder of its log."""

    nats_url: str
    environment: Mapping[str, str]
    folder: Path


class StandIn:
    """A self-hosted model that answers almost at once."""

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        await asyncio.sleep(STAND_IN_SECONDS)
        yield [(index, _answer(call)) for index, call in enumerate(calls)]

    async def stop(self, ids: Collection[str]) -> None:
        """Do nothing: a call is over before anybody could stop it."""

    async def close(self) -> None:
        pass


def _answer(call: Call) -> Answer:
    unsure = UNSURE in call.request["messages"][0]["content"]
    message = {"role": "assistant", "content": "positive"}
    return Answer(message, "stop", Usage(10, 2), "stand-in", _UNSURE if unsure else _SURE)


class ChaosDispatcher(DispatcherProcess):
    """The plain dispatcher process, with the stand-in as a target."""

    def _backends(self) -> dict[str, Backend]:
        return {STAND_IN: StandIn(), **super()._backends()}


def context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


def start_dispatcher(forks: ForkServerContext, place: Place, fault: str) -> ForkServerProcess:
    process = forks.Process(target=_dispatcher, args=(place, fault), daemon=True)
    process.start()
    return process


def start_client(forks: ForkServerContext, place: Place, socket: Path, fault: str) -> ForkServerProcess:
    process = forks.Process(target=_client, args=(place, socket, fault), daemon=True)
    process.start()
    return process


def _dispatcher(place: Place, fault: str) -> None:
    _settle_in(place, "dispatcher.log")
    process = ChaosDispatcher(load(nats_url=place.nats_url), with_ray=False)
    faults.arm(fault)
    _run(_until_terminated(process))


async def _until_terminated(process: DispatcherProcess) -> None:
    draining: set[asyncio.Task[None]] = set()
    drain = lambda: draining.add(asyncio.create_task(process.drain()))  # noqa: E731
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(CLOCK_ON, _step_clock, CLOCK_STEP_SECONDS)
    loop.add_signal_handler(CLOCK_BACK, _step_clock, -CLOCK_STEP_SECONDS)
    await process.run()


def _step_clock(seconds: float) -> None:
    """Shift this process's wall clock from now on, as an operator does who sets the clock."""
    before = time.time
    time.time = lambda: before() + seconds


def _client(place: Place, socket: Path, fault: str) -> None:
    _settle_in(place, "client.log")
    faults.arm(fault)
    _run(_submit_as_told(place.nats_url, socket))


async def _submit_as_told(nats_url: str, socket: Path) -> None:
    """Submit each batch whose number comes over the socket, and send the number back once it is accepted."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(b"%d\n" % os.getpid())
    desk = await JetStreamDesk.connect(nats_url, TENANT)
    while line := await reader.readline():
        await _accepted(desk, batch(int(line)))
        writer.write(line)
        await writer.drain()


async def _accepted(desk: JetStreamDesk, submissions: Sequence[Submission]) -> None:
    """Submit until confirmed: the client's contract is to send unconfirmed jobs again under the same ids."""
    while True:
        try:
            await desk.submit(submissions)
        except QueueUnavailable:
            await asyncio.sleep(RESUBMIT_SECONDS)
        else:
            return


def batch(number: int) -> list[Submission]:
    return [submission(number * BATCH + index) for index in range(BATCH)]


def submission(index: int) -> Submission:
    """Return a job: of ten, six end on the stand-in, two climb to a paid target, two start on one (one by own key)."""
    job_id, kind = f"chaos-job-{index:012d}", index % 10
    request: dict[str, Any] = {"messages": [{"role": "user", "content": f"{job_id} {UNSURE if kind >= 6 else 'sure'}"}]}
    own: dict[str, Any] = {}
    if kind == 8:
        request["model"] = "gpt-4o" if index % 20 == 8 else "claude-sonnet"
    if kind == 9:
        request["model"] = "gpt-4o"
        own = {"plan": Plan.OWN_KEY, "own_key": "openai/main"}
    return Submission(job_id, "classify.sentiment", request, lane=LANES[index // BATCH % len(LANES)], **own)


def _settle_in(place: Place, log: str) -> None:
    os.environ.update(place.environment)
    handle = os.open(place.folder / log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


def _run(main: Coroutine[Any, Any, None]) -> None:
    # Ctrl-C is for the parent, which ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(main)
