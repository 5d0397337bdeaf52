"""Measures one peer: its rate and its cost, the time of one job at a time, and what a kill does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.peers.brokers import (
    Outcomes,
    Queue,
    RedisKeys,
    RedisList,
    RedisServer,
    RedisWire,
    Stream,
    connected,
)
from benchmarks.peers.entrants import ROOT, Entrant, Where
from benchmarks.peers.machine import kill_tree, processor_seconds
from benchmarks.peers.work import FOLDER, NATS, REDELIVERY_SECONDS, REDIS, RUNS
from queues.server.embedded import EmbeddedServer

LOOK_SECONDS = 0.02
START_SECONDS = 120.0
RATE_SECONDS = 20.0
"""Seconds after which a rate is taken even though jobs are left."""
PATIENCE_SECONDS = 120.0
"""Seconds after a kill after which what is missing counts as lost even though the broker still holds something."""
SETTLE_SECONDS = REDELIVERY_SECONDS + 3.0
"""Seconds to wait, once the broker has nothing left, for what is in the worker's hands."""
CATALOGUE, CALIBRATIONS = "catalogue.yaml", "calibrations.json"
TARGET, IN_FLIGHT, BATCH = "llama-8b", 1024, 256


@dataclass(frozen=True, slots=True)
class Throughput:
    """A round's rate, and microseconds of processor time per job: the worker's and that of everything beside it."""

    jobs_per_second: float
    worker_us: float
    beside_us: float


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The damage of a kill: jobs without a result, jobs with more than one, jobs whose work ran more than once."""

    lost: int
    doubled: int
    ran_twice: int


class Trial:
    """A peer's brokers, its worker and its clients, in a folder of their own."""

    def __init__(self, entrant: Entrant, folder: Path, nats: EmbeddedServer, redis: RedisServer | None) -> None:
        self.entrant = entrant
        self.folder = folder
        self._nats, self._redis = nats, redis
        self._worker: subprocess.Popen[bytes] | None = None
        self.queue: Queue
        self.results: Outcomes

    @property
    def environment(self) -> dict[str, str]:
        own = {NATS: self._nats.url, FOLDER: str(self.folder), "PYTHONPATH": str(ROOT), **QUIET}
        redis = {} if self._redis is None else {REDIS: str(self._redis.socket)}
        fleet = {"FLEET_CATALOGUE_PATH": CATALOGUE, "FLEET_CALIBRATIONS_PATH": CALIBRATIONS}
        return {**os.environ, **own, **redis, **{name: str(self.folder / file) for name, file in fleet.items()}}

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    async def client(self, verb: str, jobs: int) -> str:
        """Run the peer's client, and return what it printed. Raises: RuntimeError with what it wrote if it failed."""
        return await asyncio.to_thread(self._client, verb, jobs)

    def _client(self, verb: str, jobs: int) -> str:
        command = self.entrant.client(verb, jobs)
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.entrant.name}: the client failed at {verb}:\n{done.stderr[-2000:]}")
        return done.stdout

    def start(self, listed: bool = False, extra: Mapping[str, str] | None = None) -> None:
        """Start the worker; where `listed`, it lists every job that it runs."""
        listing = {RUNS: str(self.runs)} if listed else {}
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                self.entrant.worker,
                env={**self.environment, **listing, **(extra or {})},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process that does the work, or the first of those that do."""
        assert self._worker is not None
        if self.entrant.supervised:
            return int((self.folder / "replica.pid").read_text())
        return self._worker.pid

    def processor_us(self) -> tuple[float, float]:
        """Return microseconds used so far by the worker, and by its broker and what else the peer runs."""
        assert self._worker is not None and self._nats.pid is not None
        brokers = processor_seconds(self._nats.pid) + (processor_seconds(self._redis.pid) if self._redis else 0.0)
        around = processor_seconds(self._worker.pid, without=self.pid) if self.entrant.supervised else 0.0
        return 1e6 * processor_seconds(self.pid), 1e6 * (brokers + around)

    def kill(self) -> None:
        """Kill the worker and all it started, at once."""
        kill_tree(self.pid)
        if self._worker is not None and not self.entrant.supervised:
            self._worker.wait()

    def stop(self) -> None:
        if self._worker is not None:
            kill_tree(self._worker.pid)
            self._worker.wait()

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
        """Wait for a condition. Raises: RuntimeError that names it, with the end of the worker's log."""
        deadline = time.monotonic() + seconds
        while not await holds():
            if time.monotonic() > deadline:
                log = (self.folder / "worker.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.entrant.name}: not within {seconds:g} s: {what}\n{log}")
            await asyncio.sleep(LOOK_SECONDS)


QUIET = {
    "C_FORCE_ROOT": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "FLEET_LEASE_SECONDS": str(REDELIVERY_SECONDS),
}


@asynccontextmanager
async def trial_of(entrant: Entrant) -> AsyncIterator[Trial]:
    """Start the peer's brokers, and stop all that runs at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True)))
        _write_settings(folder)
        nats = stack.enter_context(EmbeddedServer(folder / "nats"))
        redis = RedisServer(folder) if entrant.needs_redis else None
        if redis is not None:
            redis.start()
            stack.callback(redis.stop)
        trial = Trial(entrant, folder, nats, redis)
        connection = await connected(nats.url)
        stack.push_async_callback(connection.close)

        def wire(database: int) -> RedisWire:
            assert redis is not None
            opened = RedisWire(redis.socket, database)
            stack.callback(opened.close)
            return opened

        def is_stream(stored: Where) -> bool:
            return stored.broker == "nats"

        queue, results = entrant.queue, entrant.results
        trial.queue = (
            Stream(connection, queue.name, queue.following) if is_stream(queue) else RedisList(wire(0), queue.name)
        )
        trial.results = Stream(connection, results.name) if is_stream(results) else RedisKeys(wire(1), results.name)
        stack.callback(trial.stop)
        yield trial


def _write_settings(folder: Path) -> None:
    """Write Fleet's catalogue, with room for an instant target, and calibrations that know of none."""
    document = yaml.safe_load((ROOT / "deployments" / CATALOGUE).read_text())
    for target in document["targets"]:
        if target["name"] == TARGET:
            target |= {"max_in_flight": IN_FLIGHT, "batch_size": BATCH}
    (folder / CATALOGUE).write_text(yaml.safe_dump(document))
    (folder / CALIBRATIONS).write_text(json.dumps({"schema": 1, "calibrations": []}))


async def throughput(trial: Trial, jobs: int) -> Throughput:
    """Measure from the first job that is taken to the last result that is stored; all jobs wait before that."""
    await trial.client("fill", jobs)
    trial.start()
    await trial.until(lambda: trial.queue.is_touched(jobs), "a job is taken", START_SECONDS)
    started, (worker, beside) = time.perf_counter(), trial.processor_us()
    while (done := await trial.results.written()) < jobs and time.perf_counter() - started < RATE_SECONDS:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    seconds, (worker_then, beside_then) = time.perf_counter() - started, trial.processor_us()
    if not done:
        raise RuntimeError(f"{trial.entrant.name}: no result within {RATE_SECONDS:g} s")

    async def is_done() -> bool:
        return await trial.results.written() >= jobs

    await trial.until(is_done, "the other results", START_SECONDS)
    return Throughput(done / seconds, (worker_then - worker) / done, (beside_then - beside) / done)


async def idle(trial: Trial, jobs: int) -> list[float]:
    """Return the milliseconds from submission to result of jobs that come one after the other."""
    times: list[float] = json.loads(await trial.client("idle", jobs))
    return times


async def kill(trial: Trial, jobs: int) -> Aftermath:
    """Kill the worker after a third of the results, start it again, and count once nothing comes any more."""
    await trial.client("fill", jobs)
    trial.start(listed=True)
    results = trial.results

    async def is_in_the_middle() -> bool:
        return await results.written() >= jobs // 3

    await trial.until(is_in_the_middle, "a third of the results", START_SECONDS)
    trial.kill()
    if not trial.entrant.supervised:
        trial.start(listed=True)
    await _until_nothing_is_held(trial)
    await asyncio.sleep(SETTLE_SECONDS)
    return aftermath(jobs, await results.stored(), await results.written(), trial.runs.read_text().split())


def aftermath(jobs: int, stored: int, written: int, runs: list[str]) -> Aftermath:
    """Count what a kill did; a job that is run twice is named twice in `runs`."""
    return Aftermath(jobs - stored, written - stored, sum(count > 1 for count in Counter(runs).values()))


async def _until_nothing_is_held(trial: Trial) -> None:
    """Wait until the broker has no job left, so that none that is only late counts as lost."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await trial.queue.held() and time.monotonic() < deadline:  # noqa: ASYNC110  # the brokers announce no counts
        await asyncio.sleep(10 * LOOK_SECONDS)
