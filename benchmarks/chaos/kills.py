"""The plan of kills: every process at every step, in an order drawn by lot, then at random moments."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from benchmarks.chaos.audit import Trouble, Verdict, judge, read_books
from benchmarks.chaos.bed import Bed, kill, until
from benchmarks.chaos.children import BATCH
from benchmarks.chaos.load import Load
from benchmarks.chaos.provider import Provider
from benchmarks.chaos.surroundings import FAULTS, Surroundings
from fleet import faults
from fleet.settings.documents import load_rules

CLIENT_STEPS = tuple(name for name in faults.POINTS if name.startswith("client."))
DISPATCHER_STEPS = tuple(name for name in faults.POINTS if not name.startswith(("client.", "batch.")))
ANY_MOMENT = "any moment"
PROCESSES = ("dispatcher", "nats-server", "client")
SETTLE_SECONDS = 600.0
"""Maximum seconds for the jobs that are left when the killing ends."""

MOST_PASSAGES = 4
"""A fault strikes at one of the first passages of its point, at most this one."""


@dataclass(frozen=True, slots=True)
class Cell:
    process: str
    step: str


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill or other fault: its time (monotonic), the seconds until the next result was stored, and the batches
    accepted by then.
    """

    cell: Cell
    at: float
    seconds: float
    batches: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run: `rounds` kills of each cell, `minutes` of kills at random moments, `jobs` jobs or more.

    `befalls` names the other faults that happen as often: `surroundings.FAULTS`.
    """

    rounds: int
    minutes: float
    jobs: int
    seed: int
    steps: tuple[str, ...] = DISPATCHER_STEPS
    befalls: tuple[str, ...] = ()

    def cells(self, rng: random.Random) -> list[Cell]:
        found = [Cell(process, step) for process in ("dispatcher", "nats-server") for step in self.steps]
        found += [Cell("client", step) for step in CLIENT_STEPS]
        found += [Cell(what, step) for what in self.befalls for step in FAULTS[what]]
        drawn = found * self.rounds
        rng.shuffle(drawn)
        return drawn


@dataclass
class Run:
    """One run of a plan, in a folder of its own. `kills` are those done so far."""

    plan: Plan
    folder: Path
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.plan.seed)

    async def whole(self) -> tuple[Verdict, Trouble]:
        """Kill everything under load, finish the other jobs, then audit the accounts."""
        async with Provider(self.plan.seed) as provider:
            self._bed = Bed(self.folder, provider)
            self._load = Load(self._bed)
            self._surroundings = Surroundings(self._bed, self._note_fault, self._more_results)
            try:
                await self._bed.open()
                loading = asyncio.create_task(self._load.run())
                supervising = asyncio.create_task(self._bed.supervise())
                await _while(loading, self._kill_all())
                self._load.stop()
                await loading
                await self._settled()
                supervising.cancel()
                books = await read_books(self._bed.server.url)
            finally:
                await self._bed.close()
        return judge(books, provider.charges, self._load.batches, load_rules(None, None, "local"))

    async def _kill_all(self) -> None:
        await until(self._has_begun, "the first jobs have results")
        for cell in self.plan.cells(self._rng):
            await self._kill_at(cell)
        until_at = time.monotonic() + 60 * self.plan.minutes
        while time.monotonic() < until_at:
            await self._kill_sometime(self._rng.choice(PROCESSES))
        # One batch more than there are: one that a killed client left half accepted is sent again before the end.
        self._wanted = max(self.plan.jobs, self._load.submitted + 2 * BATCH)
        await until(self._has_jobs, f"{self._wanted} jobs are accepted")

    async def _has_begun(self) -> bool:
        return await self._bed.stored("RESULTS") > 0

    async def _has_jobs(self) -> bool:
        return self._load.submitted >= self._wanted

    async def _kill_at(self, cell: Cell) -> None:
        when = f"@{self._rng.randint(1, MOST_PASSAGES)}"
        match cell.process:
            case "client":
                await self._note(Cell("client", ANY_MOMENT), await self._load.die(f"{cell.step}=kill{when}"))
                await self._note(cell, await self._load.death())
            case "dispatcher":
                while not await self._bed.gone(await self._replace_one(f"{cell.step}=kill{when}")):
                    pass
                killed_at = time.monotonic()
                self._bed.add_dispatcher()
                await self._note(cell, killed_at)
            case what if what in FAULTS:
                await self._surroundings.strike(what, cell.step)
            case _:
                fault = f"{cell.step}=kill:{self._bed.server.pid}{when}"
                while not await self._bed.server_gone(await self._replace_one(fault)):
                    pass
                await self._server_back(cell, time.monotonic())

    async def _replace_one(self, fault: str) -> ForkServerProcess:
        """Kill the older of the two dispatchers, and start an armed one in its place."""
        victim = self._bed.dispatchers[0]
        victim.kill()
        killed_at = time.monotonic()
        if await self._bed.gone(victim):
            await self._note(Cell("dispatcher", ANY_MOMENT), killed_at)
        return self._bed.add_dispatcher(fault)

    async def _kill_sometime(self, process: str) -> None:
        await self._more_results()
        cell = Cell(process, ANY_MOMENT)
        match process:
            case "client":
                await self._note(cell, await self._load.die())
            case "dispatcher":
                await self._replace_one("")
            case _:
                killed_at = kill(self._bed.server.pid)
                await self._server_back(cell, killed_at)

    async def _more_results(self) -> None:
        """Wait for some more results, which is a random moment for everything else."""
        wanted = await self._bed.stored("RESULTS") + self._rng.randint(1, 200)

        async def has_come() -> bool:
            return await self._bed.stored("RESULTS") >= wanted

        await until(has_come, "some more results")

    async def _server_back(self, cell: Cell, killed_at: float) -> None:
        await asyncio.to_thread(self._bed.restart_server)
        await self._note(cell, killed_at)

    async def _note(self, cell: Cell, killed_at: float) -> None:
        seconds = await self._bed.next_result_seconds(killed_at)
        self.kills.append(Kill(cell, killed_at, seconds, self._load.batches))

    async def _note_fault(self, what: str, step: str, at: float) -> None:
        await self._note(Cell(what, step), at)

    async def _settled(self) -> None:
        """Wait until every accepted job has its result and nothing is on its way any more."""

        async def is_quiet() -> bool:
            streams = [await self._bed.stored(stream) for stream in ("JOBS", "WORK")]
            return not any(streams) and await self._bed.stored("RESULTS") >= self._load.submitted

        try:
            await until(is_quiet, "all jobs have results and no work is left", SETTLE_SECONDS)
        except TimeoutError as error:
            results = await self._bed.stored("RESULTS")
            where = f"{self._load.submitted} jobs, {results} results, {await self._bed.leftovers()}"
            raise TimeoutError(f"{error} ({where})") from None


async def _while(loading: asyncio.Task[None], killing: Coroutine[Any, Any, None]) -> None:
    """Kill, but stop with the load's error if the load breaks down: nothing can be learned then."""
    task = asyncio.create_task(killing)
    await asyncio.wait((loading, task), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await loading
    await task
