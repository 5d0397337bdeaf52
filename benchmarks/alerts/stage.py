"""A fleet for faults: real nats-server, dispatcher and ledger writer with their metrics, and pretended models."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.alerts.pretended import SURE, Model, Replicas, request
from benchmarks.alerts.recorded import total
from fleet.app import SystemClock, apply_topology, open_ledger_feed
from fleet.cli.books.ledger import writer_metrics
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.state.knowledge import Learned
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.ledger.writer import LedgerWriter
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.families import Family, Read
from fleet.telemetry.metrics.gauges import gauges
from fleet.telemetry.metrics.server import MetricsServer
from policies.rules.rules import Rules
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.maintenance.erasing import JetStreamErasing
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.load import JetStreamLoads
from queues.jetstream.stores.spend import CellSpendBook
from queues.server.embedded import EmbeddedServer
from queues.wire.subjects import RESULTS

OWN: Final = "llama-8b"
PAID: Final = "gpt-4o"
TASK: Final = "classify.sentiment"
COLLECTED: Final = "classify.collected"
"""A task whose contents are collected."""
TENANT: Final = "alerts"
PLENTY_USD: Final = 1_000_000.0

SLOTS: Final = 8
"""The most jobs that our own model runs at once."""

LATE_SECONDS: Final = 0.05
"""Seconds that a bulk job has from its submission, by the rules: one that waits for a slot is late."""

LOOK_SECONDS: Final = 0.03
"""Seconds between two looks at what tells nobody of its changes."""

PATIENCE_SECONDS: Final = 600.0
"""Maximum seconds for any one condition; beyond it the run has failed."""

Scrape = str | None
"""The text of one process's metrics; None where it did not answer."""


@dataclass
class Process:
    """A process of the fleet, with its metrics at `port`; it runs on this program's loop."""

    running: asyncio.Task[None]
    drain: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    port: int

    async def stop(self) -> None:
        """Let it finish what it has in hand, if it runs."""
        if not self.running.done():
            await self.drain()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.close()

    async def end(self) -> None:
        """End it where it stands, as a crash does."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.close()

    async def scrape(self) -> Scrape:
        try:
            return await asyncio.to_thread(_get, self.port)
        except OSError:
            return None


def _get(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@dataclass
class Stage:
    """A running fleet. `minutes` are the scrapes so far, of the dispatcher, the writer, and what runs `beside` them.

    With `clock_runs` a minute that passes is one for the writer as well: its clock is moved on.
    """

    server: EmbeddedServer
    connection: Connection
    rules: Rules
    folder: Path
    own: Model = field(default_factory=lambda: Model(is_paid=False))
    paid: Model = field(default_factory=lambda: Model(is_paid=True))
    replicas: Replicas = field(default_factory=lambda: Replicas({OWN: 1}))
    minutes: list[list[Scrape]] = field(default_factory=list)
    clock_runs: bool = False
    skew_seconds: float = 0.0
    submitted: int = 0
    beside: Process | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, daily_usd: float = PLENTY_USD) -> AsyncIterator[Self]:
        """Start everything, and end it on the way out."""
        async with AsyncExitStack() as parts:
            server = parts.enter_context(EmbeddedServer(folder / "nats"))
            await apply_topology(server.url)
            connection = await connect(server.url, name="alerts")
            parts.push_async_callback(connection.close)
            stage = cls(server, connection, _rules(daily_usd), folder)
            stage.dispatcher = await stage._dispatcher()
            parts.push_async_callback(stage.dispatcher.stop)
            stage.writer = await stage.start_writer(parts)
            parts.push_async_callback(stage.writer.stop)
            yield stage
            if stage.beside is not None:
                await stage.beside.stop()

    dispatcher: Process = field(init=False)
    writer: Process = field(init=False)

    async def _dispatcher(self) -> Process:
        connection, rules, clock = self.connection, self.rules, SystemClock()
        backends = {OWN: self.own, PAID: self.paid}
        counts = JobCounts(rules.catalogue.targets, backends)
        dispatcher = Dispatcher(
            JetStreamQueue(connection),
            backends,
            rules,
            clock,
            spend=CellSpendBook(JetStreamCells(connection), clock, rules.money.open_seconds),
            learned=Learned(JetStreamCalibrations(connection)),
            cancels=JetStreamCancels(connection),
            loads=JetStreamLoads(connection),
            capacities=self.replicas,
            recorder=counts,
        )

        def read() -> Iterator[Family]:
            yield from counts.read()
            yield from gauges(dispatcher.snapshot(), rules.catalogue.targets, rules.money.daily_usd)

        return await process_of(dispatcher.run(), dispatcher.drain, read)

    async def start_writer(self, parts: AsyncExitStack) -> Process:
        """Start a writer of the ledger; `parts` close what it uses."""
        engine = engine_for(database_url(f"sqlite:///{self.database}"))
        parts.callback(engine.dispose)
        feed = await open_ledger_feed(self.server.url)
        parts.push_async_callback(feed.close)
        writer = LedgerWriter(feed, LedgerStore(engine, time.time), gather_seconds=0.0)

        async def drain() -> None:
            writer.drain()

        def read() -> Iterator[Family]:
            yield from writer_metrics(writer.progress, time.time() + self.skew_seconds)

        return await process_of(writer.run(), drain, read)

    async def empty_ledger_stream(self) -> None:
        """Have the stream drop all of its lines, as one does that is full or whose lines are too old."""
        erasing = JetStreamErasing(self.connection)
        await erasing.erase_tenants_lines(TENANT, await erasing.last_line())

    @property
    def database(self) -> Path:
        return self.folder / "ledger.sqlite3"

    async def submit(self, prompts: Sequence[str], model: str | None = None, task: str = TASK, **options: Any) -> None:
        """Submit a job for each prompt; `model` pins them to a target."""
        jobs = [Submission(uuid.uuid4().hex, task, request(prompt, model), **options) for prompt in prompts]
        await JetStreamDesk(self.connection, TENANT).submit(jobs)
        self.submitted += len(jobs)

    async def answer(self, prompts: Sequence[str] = (SURE,) * 4, model: str | None = None, **options: Any) -> None:
        """Submit jobs and wait until all jobs so far have results, and nothing is left in the queues."""
        await self.submit(prompts, model, **options)

        async def all_have_results() -> bool:
            return (await api.stream_info(self.connection, RESULTS)).messages >= self.submitted

        await until(all_have_results)
        await self.shows(lambda text: total(text, "fleet_work_waiting") + total(text, "fleet_work_in_flight") == 0)
        await self.is_answered()

    async def is_answered(self) -> None:
        """Wait until the broker has answered the dispatcher a moment ago, however slow this machine is."""
        await self.shows(lambda text: total(text, "fleet_broker_silent_seconds") < 1)

    async def shows(self, wanted: Callable[[str], bool]) -> None:
        """Wait until the dispatcher's metrics are so."""

        async def are_so() -> bool:
            text = await self.dispatcher.scrape()
            return text is not None and wanted(text)

        await until(are_so)

    async def pass_minute(self) -> None:
        """Let a minute go by for what will watch this run: scrape everything."""
        self.skew_seconds += 60.0 * self.clock_runs
        processes = (self.dispatcher, self.writer, *([self.beside] if self.beside else ()))
        self.minutes.append([await process.scrape() for process in processes])

    @contextlib.contextmanager
    def frozen_broker(self) -> Iterator[None]:
        """Stop the nats-server where it stands, and let it go on at the end."""
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.server.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def locked_database(self) -> Iterator[None]:
        """Write to the ledger's database from elsewhere for as long as this lasts."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            yield
            rival.execute("ROLLBACK")


def _rules(daily_usd: float) -> Rules:
    """Return the shipped rules with another limit, few slots, late bulk jobs, and a task that is collected."""
    rules = load_rules(None, None, "local")
    small = replace(rules.catalogue.targets[OWN], max_in_flight=SLOTS, batch_size=1)
    catalogue = replace(rules.catalogue, targets={**rules.catalogue.targets, OWN: small})
    deadlines = replace(rules.deadlines, bulk_seconds=LATE_SECONDS)
    money = replace(rules.money, daily_usd=daily_usd)
    tasks = {**rules.tasks, COLLECTED: replace(rules.tasks[TASK], collect=True)}
    return replace(rules, catalogue=catalogue, money=money, deadlines=deadlines, tasks=tasks)


async def process_of(main: Coroutine[Any, Any, None], drain: Callable[[], Awaitable[None]], read: Read) -> Process:
    """Start a process that has these metrics, and serve them."""
    server = MetricsServer(read, lambda: True)
    port = await server.start("127.0.0.1", 0)
    return Process(asyncio.create_task(main), drain, server.close, port)


async def until(holds: Callable[[], Any]) -> None:
    """Wait for a condition of the fleet. Raises: TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK_SECONDS)
