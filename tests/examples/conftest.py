"""A broker and a dispatcher whose models answer at once; an example runs beside them as a user would start it."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from fleet.app import SystemClock, apply_topology
from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RunSettings
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.state.knowledge import Learned
from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.batch import Batch
from fleet.model.call import Call
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules
from policies.rules.sections import ShadowRules
from queues.batches import EveryBatch, JetStreamShelf
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.spend import CellSpendBook
from queues.server.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

LOGPROB = math.log(0.825)
"""Of every answer: a confidence above the shipped threshold of a paid simple job, 0.75, and below 0.9."""

FEATURES = Features(LOGPROB, LOGPROB, LOGPROB, LOGPROB, LOGPROB, 1, 2.0, 0.5)

NO_COMPARISONS = ShadowRules(kept=0, escalated=0)
"""They are drawn at random, and would be labels beside those of the example."""


@dataclass
class Positive:
    """A model that calls everything positive."""

    model: str

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        message = {"role": "assistant", "content": "positive"}
        answer = Answer(message, "stop", Usage(40, 2), self.model, FEATURES)
        yield [(index, answer) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    returncode: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Bench:
    nats_url: str

    async def start(self, *command: str | Path, cwd: Path = ROOT, **variables: str) -> Done:
        """Run a command to its end, with the broker's address in its environment."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        # The repository is what it imports, as after `make setup`; node and npm lie beside this interpreter.
        path = f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}"
        told = {"PATH": path, "PYTHONPATH": str(ROOT), "FLEET_NATS_URL": self.nats_url}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=plain | told | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
        return Done(process.returncode, output.decode(), errors.decode())

    async def example(self, name: str | Path, *arguments: str) -> str:
        """Run a Python example; what it printed."""
        done = await self.start(sys.executable, EXAMPLES / name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @asynccontextmanager
    async def dispatching(self, rules: Rules | None = None) -> AsyncIterator[None]:
        """Three models of the fleet's own, and a dispatcher that goes by `rules`, else by the shipped ones."""
        rules = replace(rules or load_rules(None, None, "local"), shadow=NO_COMPARISONS)
        await apply_topology(self.nats_url)
        connection = await connect(self.nats_url)
        dispatcher = Dispatcher(
            JetStreamQueue(connection),
            {name: Positive(name) for name in ("llama-8b", "mixtral-8x7b", "llama-70b")},
            rules,
            SystemClock(),
            spend=CellSpendBook(JetStreamCells(connection), SystemClock(), rules.money.open_seconds),
            learned=Learned(JetStreamCalibrations(connection)),
            cancels=JetStreamCancels(connection),
        )
        running = asyncio.create_task(dispatcher.run())
        try:
            yield
        finally:
            await dispatcher.drain()
            await running
            await connection.close()

    @asynccontextmanager
    async def running_batches(self) -> AsyncIterator[None]:
        """The runner of batches; the streams are there."""
        connection = await connect(self.nats_url)
        everyone = EveryBatch(JetStreamShelf(connection, by_leader=True))
        runner = BatchRunner(everyone, lambda tenant: JetStreamDesk(connection, tenant), _tell_nobody, RunSettings())
        running = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            runner.drain()
            await running
            await connection.close()


async def _tell_nobody(batch: Batch) -> None:
    """The end of a batch is announced to nobody."""


@pytest.fixture
def bench(tmp_path: Path):
    with EmbeddedServer(tmp_path / "nats") as server:
        yield Bench(server.url)
