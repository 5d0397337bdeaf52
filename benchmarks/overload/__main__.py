"""Sends a wave of interactive jobs at an engine that is too small for it: who is late, who climbs, at what price.

NATS and the dispatcher are the real ones. The engine runs SLOTS jobs at once and takes a second for each; the cloud
target beside it answers in CLOUD_SECONDS. Jobs come calmly, then as a wave of 2.5 times what the engine can do, then
calmly again. It runs with the shipped rules, and again with `overload: {lanes: []}`. Jobs count as late if they have no
answer by their deadline; climbs are paid at the catalogue's price.

    python -m benchmarks.overload [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace

import uvloop

from benchmarks.dispatch import server
from benchmarks.instant import PacedBackend
from fleet import logs
from fleet.app import apply_topology
from fleet.app.worker import SystemClock
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.state.knowledge import Learned
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.spend import CellSpendBook

OWN, CLOUD = "llama-8b", "groq-gpt-oss-120b"
SLOTS = 16
OWN_SECONDS, CLOUD_SECONDS = 1.0, 0.3
DEADLINE_SECONDS = 8.0
PHASES = (("calm", 10.0, 8.0), ("wave", 20.0, 40.0), ("calm", 20.0, 8.0))
"""Each with its seconds and its jobs per second; the engine does SLOTS a second."""

JOBS = sum(int(seconds * jobs_per_second) for _, seconds, jobs_per_second in PHASES)
STEP_SECONDS = 2.0
GRACE_SECONDS = 5.0
REQUEST = {"messages": [{"role": "user", "content": "Is this note positive or negative? All went well."}]}


@dataclass(frozen=True, slots=True)
class WaveStep:
    """Jobs that were submitted in this part of the run, by what became of them."""

    second: float
    phase: str
    jobs: int
    stayed: int
    climbed: int
    late: int


@dataclass(slots=True)
class WaveRun:
    rules: str
    jobs: int = 0
    late: int = 0
    climbed: int = 0
    climbs_usd: float = 0.0
    back_after_seconds: float | None = None
    """Seconds from the end of the wave to the last job that climbed; None where none climbed."""
    steps: list[WaveStep] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    logs.configure("ERROR")
    runs = [_measured(name, rules) for name, rules in _rules()]
    print(json.dumps({"runs": [asdict(run) for run in runs]}) if as_json else "\n".join(_table(runs)))


def _rules() -> Iterator[tuple[str, Rules]]:
    shipped = load_rules(None, None, "local")
    own = replace(shipped.catalogue.targets[OWN], max_in_flight=SLOTS, batch_size=1, batch_wait_seconds=0.0)
    targets = {**shipped.catalogue.targets, OWN: own}
    rules = replace(shipped, catalogue=replace(shipped.catalogue, targets=targets))
    yield "jobs climb", rules
    yield "jobs stay", replace(rules, overload=replace(rules.overload, lanes=frozenset()))


def _measured(name: str, rules: Rules) -> WaveRun:
    with server() as url:
        return uvloop.run(_run(url, name, rules))


async def _run(url: str, name: str, rules: Rules) -> WaveRun:
    await apply_topology(url)
    desk = await JetStreamDesk.connect(url, "bench")
    found: dict[str, Result] = {}
    async with _dispatching(url, rules):
        collecting = asyncio.create_task(_collect(desk, found))
        started = time.time()
        submitted = await _submit_all(desk)
        await asyncio.wait((collecting,), timeout=DEADLINE_SECONDS + GRACE_SECONDS)
        collecting.cancel()
    await desk.close()
    return _summed_up(name, submitted, found, started)


@asynccontextmanager
async def _dispatching(url: str, rules: Rules) -> AsyncIterator[None]:
    connection = await connect(url)
    spend = CellSpendBook(JetStreamCells(connection), SystemClock(), rules.money.open_seconds)
    dispatcher = Dispatcher(
        JetStreamQueue(connection),
        {OWN: PacedBackend(OWN_SECONDS), CLOUD: PacedBackend(CLOUD_SECONDS)},
        rules,
        SystemClock(),
        spend=spend,
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


async def _collect(desk: JetStreamDesk, found: dict[str, Result]) -> None:
    """Note the results until every job has one."""
    async for result in desk.results():
        found.setdefault(result.job_id, result)
        if len(found) == JOBS:
            return


@dataclass(frozen=True, slots=True)
class WaveJob:
    id: str
    phase: str
    at: float


async def _submit_all(desk: JetStreamDesk) -> list[WaveJob]:
    """Submit the jobs of all phases, evenly over each; return them with the time when they were due."""
    submitted: list[WaveJob] = []
    at = time.time()
    for phase, seconds, jobs_per_second in PHASES:
        for _ in range(int(seconds * jobs_per_second)):
            await asyncio.sleep(max(0.0, at - time.time()))
            job = Submission(uuid.uuid4().hex, "classify.sentiment", REQUEST, Lane.INTERACTIVE)
            await desk.submit([replace(job, deadline_at=time.time() + DEADLINE_SECONDS)])
            submitted.append(WaveJob(job.id, phase, at))
            at += 1 / jobs_per_second
    return submitted


def _fate(result: Result | None) -> str:
    if result is None or result.status not in (Status.SUCCEEDED, Status.BEST_EFFORT):
        return "late"
    return "climbed" if result.attempts[0].reason is Reason.OVERLOADED else "stayed"


def _summed_up(name: str, submitted: Sequence[WaveJob], found: dict[str, Result], started: float) -> WaveRun:
    fates = {each.id: _fate(found.get(each.id)) for each in submitted}
    counts = Counter(fates.values())
    run = WaveRun(name, len(submitted), counts["late"], counts["climbed"])
    run.climbs_usd = sum(each.cost_usd for result in found.values() for each in result.attempts if each.target == CLOUD)
    wave_over = max(each.at for each in submitted if each.phase == "wave")
    last = max((each.at for each in submitted if fates[each.id] == "climbed"), default=None)
    run.back_after_seconds = None if last is None else max(0.0, last - wave_over)
    steps: dict[int, list[WaveJob]] = {}
    for each in submitted:
        steps.setdefault(int((each.at - started) / STEP_SECONDS), []).append(each)
    for number, jobs in sorted(steps.items()):
        part = Counter(fates[each.id] for each in jobs)
        kinds = (part["stayed"], part["climbed"], part["late"])
        run.steps.append(WaveStep(number * STEP_SECONDS, jobs[0].phase, len(jobs), *kinds))
    return run


def _table(runs: Sequence[WaveRun]) -> Iterator[str]:
    yield f"{'':>8}" + "".join(f"{run.rules:>30}" for run in runs)
    yield f"{'second':>8}" + f"{'jobs stayed climbed late':>30}" * len(runs)
    for steps in zip(*(run.steps for run in runs), strict=False):
        cells = (f"{step.jobs:>8}{step.stayed:>7}{step.climbed:>8}{step.late:>7}" for step in steps)
        yield f"{steps[0].second:>8.0f}" + "".join(cells) + f"  {steps[0].phase}"
    for run in runs:
        back = "" if run.back_after_seconds is None else f", the last one {run.back_after_seconds:.1f} s after the wave"
        yield f"{run.rules}: {run.jobs} jobs, {run.late} late, {run.climbed} climbed for ${run.climbs_usd:.4f}{back}"


if __name__ == "__main__":
    main()
