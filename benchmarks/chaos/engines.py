"""Runs the second part: a whole local fleet on Ray, whose replicas and vLLM engines are killed under load.

    python -m benchmarks.chaos.engines [--kills 3] [--out build/chaos-engines.json]

Each model's replica and each engine is a process of its own; one at a time is killed from outside by its pid, at a
moment that depends on how many results have come. A kill is over when the target runs again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.chaos.bed import kill, until
from benchmarks.chaos.children import TENANT
from fleet import app
from fleet.app import Fleet
from fleet.client import submission
from fleet.model.job import Lane
from fleet.settings.environment import load
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.journal import recorded
from queues.jetstream.streams.topology import stream_sizes
from queues.wire.subjects import RESULTS

NAMES = {"Ray replica": "ServeReplica:{target}", "vLLM engine": "VLLM::EngineCore"}
TARGETS = ("llama-8b", "mixtral-8x7b", "llama-70b")
WINDOW = 60
BATCH = 20
MOST_RESULTS_BETWEEN = 60
RECOVERY_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class EngineKill:
    """Seconds from a kill to the fleet's next result, and until the killed process had a successor that serves."""

    process: str
    next_result_seconds: float
    recovered_seconds: float


def processes(kind: str) -> Iterator[psutil.Process]:
    """Yield our processes of this kind: only those below this one, as others may run a fleet here as well."""
    wanted = {NAMES[kind].format(target=target) for target in TARGETS}
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline()) or process.name()
        except psutil.Error:
            continue
        if any(name in line for name in wanted):
            yield process


class EngineRun:
    """One run; `submitted` holds the ids of the accepted jobs."""

    def __init__(self, fleet: Fleet, eyes: Connection, desk: JetStreamDesk) -> None:
        self._fleet = fleet
        self._eyes = eyes
        self._desk = desk
        self._rng = random.Random(1)
        self.submitted: list[str] = []
        self.kills: list[EngineKill] = []

    async def whole(self, kills: int) -> dict[str, object]:
        loading = asyncio.create_task(self._load())
        for number in range(2 * kills):
            await self._kill_one(tuple(NAMES)[number % 2])
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await until(self._is_done, "every job has its result", 300.0)
        found = [message.subject.rsplit(".", 1)[1] async for message in recorded(self._eyes, RESULTS)]
        return {
            "kills": len(self.kills),
            "jobs": len(self.submitted),
            "results": len(found),
            "lost": len(set(self.submitted) - set(found)),
            "duplicates": len(found) - len(set(found)),
            "matrix": [asdict(each) for each in self.kills],
        }

    async def _load(self) -> None:
        while True:
            await until(self._has_room, "there is room for more jobs", RECOVERY_SECONDS)
            messages = [{"role": "user", "content": "Is this note positive or negative? All went well."}]
            jobs = [
                submission(id=secrets.token_hex(16), task="classify.sentiment", messages=messages, lane=Lane.STANDARD)
                for _ in range(BATCH)
            ]
            await self._desk.submit(jobs)
            self.submitted += [job.id for job in jobs]

    async def _kill_one(self, kind: str) -> None:
        wanted = await self._results() + self._rng.randint(1, MOST_RESULTS_BETWEEN)

        async def has_come() -> bool:
            return await self._results() >= wanted

        await until(has_come, "some more results", RECOVERY_SECONDS)
        before = {process.pid for process in processes(kind)}
        killed_at = kill(self._rng.choice(sorted(before)))
        count = await self._results()

        async def has_more() -> bool:
            return await self._results() > count

        await until(has_more, "a result after a kill", RECOVERY_SECONDS)
        next_result = time.monotonic() - killed_at

        async def is_back() -> bool:
            now = {process.pid for process in processes(kind)}
            return len(now) >= len(before) and now != before and all(s.state == "running" for s in await self._own())

        await until(is_back, f"the {kind} is back", RECOVERY_SECONDS)
        self.kills.append(EngineKill(kind, next_result, time.monotonic() - killed_at))
        print(self.kills[-1], flush=True)

    async def _own(self) -> list[app.TargetStatus]:
        return [status for status in await self._fleet.status() if status.name in TARGETS]

    async def _results(self) -> int:
        return (await stream_sizes(self._eyes.nats.jetstream()))[RESULTS]

    async def _has_room(self) -> bool:
        return len(self.submitted) - await self._results() < WINDOW

    async def _is_done(self) -> bool:
        return await self._results() >= len(self.submitted)


async def run(folder: Path, kills: int) -> dict[str, object]:
    settings = load(data_dir=folder, nats_port=0, http_port=0, dashboard_port=0, console_port=0, gateway_port=0)
    fleet = await app.start(settings, lambda line: print(line, flush=True))
    try:
        eyes = await connect(fleet.nats_url, name="chaos-eyes")
        desk = await JetStreamDesk.connect(fleet.nats_url, TENANT)
        record = await EngineRun(fleet, eyes, desk).whole(kills)
        await desk.close()
        await eyes.close()
        return record
    finally:
        await fleet.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3, help="of replicas, and as many of engines")
    parser.add_argument("--out", type=Path, default=Path("build/chaos-engines.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-engines-") as folder:
        record = asyncio.run(run(Path(folder), arguments.kills))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=2))
    print(f"kills {record['kills']}, jobs {record['jobs']}, results {record['results']}")
    print(f"lost {record['lost']}, duplicates {record['duplicates']}")


if __name__ == "__main__":
    main()
