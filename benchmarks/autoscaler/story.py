"""The events on the cluster, and what is seen of them.

python -m benchmarks.autoscaler.story ADDRESS FOLDER NATS_URL      a part of `benchmarks.autoscaler`
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.autoscaler.engine import TARGET
from benchmarks.autoscaler.machines import Cluster
from benchmarks.autoscaler.timeline import Row, decisions
from fleet.app import apply_topology
from fleet.loopback import free_port
from fleet.model.job import Lane, Tier
from fleet.model.submission import Submission
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk

MOST: Final = 3
"""Maximum number of machines, and of replicas."""

JOBS_PER_SECOND: Final = 20
"""The speed of one replica."""

BACKLOG: Final = 2_000
"""Jobs kept waiting while jobs come in: so many that a third replica is worth its start even while two are working."""

LOOK_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 600.0
"""Maximum seconds of each step of the story; only something that does not work ever reaches it."""

OUTCOME: Final = "outcome.json"
TENANT: Final = "demo"
READINGS: Final = "fleet.app.scaling:readings_from_environment"
DISPATCHER: Final = "fleet.app:dispatcher_from_environment"
REQUEST: Final = {"messages": [{"role": "user", "content": "Is this positive or negative? All went well."}]}


@dataclass(slots=True)
class Outcome:
    """The counts of a run. `answers` and `statuses` count results, ideally one per job; `stored` the stream."""

    jobs: int = 0
    answers: int = 0
    jobs_answered: int = 0
    stored: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    machines_seen: list[str] = field(default_factory=list)
    killed: str = ""
    answered_before_the_kill: int = 0
    left: int = 0
    reasons: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Replicas:
    """The target's replicas: the number Serve wants, and the Ray node of each that runs."""

    wanted: int
    running: Sequence[str]


class Story:
    """One run: sends jobs, kills a machine, ends the jobs, and records what all the other parts do."""

    def __init__(self, cluster: Cluster, desk: JetStreamDesk, eyes: Connection) -> None:
        self._cluster = cluster
        self._desk = desk
        self._eyes = eyes
        self._started = time.time()
        self._jobs: list[str] = []
        self._results: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._replicas = Replicas(0, ())
        self._machines: frozenset[str] = frozenset()
        self._coming = True
        self.outcome = Outcome()

    async def tell(self) -> Outcome:
        """Run the story.

        Raises: RuntimeError if an expected event does not happen; ExceptionGroup if a task beside the story fails.
        """
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._collect()), group.create_task(self._watch())]
            await asyncio.sleep(0)  # the collector subscribes before the first job is sent
            beside.append(group.create_task(self._feed()))
            await self._happen()
            for task in beside:
                task.cancel()
        await self._count()
        return self.outcome

    async def _happen(self) -> None:
        self._note("jobs come in")
        await self._until(self._all_run, "every replica runs on a machine of its own")
        answered = len(self._results)
        await self._until(lambda: len(self._results) >= answered + BACKLOG // 5, "jobs are answered")
        await self._lose_a_machine()
        await self._until(self._replaced, "a new machine in place of the one that died")
        self._coming = False
        self._note("replaced; no more jobs come in")
        await self._until(lambda: len(self._results) == len(self._jobs), "every job has its result")
        self._note("every job has its result")
        await self._until(lambda: not self._replicas.wanted and not self._replicas.running, "no replica is left")
        await self._until(lambda: not self._machines, "no machine is left")
        self._note("no machine is left")

    async def _lose_a_machine(self) -> None:
        self.outcome.killed = self._replicas.running[0]
        self.outcome.answered_before_the_kill = len(self._results)
        await asyncio.to_thread(self._cluster.kill, self.outcome.killed)
        self._note("a machine dies")

    def _all_run(self) -> bool:
        return len(set(self._replicas.running) & self._machines) == MOST

    def _replaced(self) -> bool:
        return self.outcome.killed not in {*self._replicas.running, *self._machines} and self._all_run()

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > until:
                raise RuntimeError(f"not within {PATIENCE_SECONDS:g} s: {what}; {self._row('')}")
            await asyncio.sleep(LOOK_SECONDS)

    async def _feed(self) -> None:
        while self._coming:
            more = BACKLOG - (len(self._jobs) - len(self._results))
            jobs = [_job() for _ in range(more)]
            self._jobs += [job.id for job in jobs]
            await self._desk.submit(jobs)
            await asyncio.sleep(LOOK_SECONDS)

    async def _collect(self) -> None:
        async for result in self._desk.results():
            self._results[result.job_id] += 1
            self._seen[result.status] += 1

    async def _watch(self) -> None:
        while True:
            self._replicas = await asyncio.to_thread(_replicas)
            self._machines = frozenset(await asyncio.to_thread(self._cluster.machines))
            self.outcome.machines_seen = sorted({*self.outcome.machines_seen, *self._machines})
            row = self._row("")
            if not self.outcome.rows or row.shape != self.outcome.rows[-1].shape:
                self.outcome.rows.append(row)
            await asyncio.sleep(LOOK_SECONDS)

    def _note(self, event: str) -> None:
        self.outcome.rows.append(self._row(event))

    def _row(self, event: str) -> Row:
        made = decisions(self._cluster.controller_log)
        return Row(
            seconds=round(time.time() - self._started, 1),
            wanted=self._replicas.wanted,
            running=len(self._replicas.running),
            machines=len(self._machines),
            waiting=len(self._jobs) - len(self._results),
            answered=len(self._results),
            reason=made[-1].reason if made else "",
            event=event,
        )

    async def _count(self) -> None:
        outcome = self.outcome
        outcome.jobs, outcome.answers = len(self._jobs), self._results.total()
        outcome.jobs_answered = len(set(self._jobs) & set(self._results))
        outcome.statuses = dict(self._seen)
        outcome.stored = await self._stored("RESULTS")
        outcome.left = await self._stored("JOBS") + await self._stored("WORK") + await self._stored("DEAD")
        outcome.reasons = [decision.reason for decision in decisions(self._cluster.controller_log)]

    async def _stored(self, stream: str) -> int:
        return (await api.stream_info(self._eyes, stream)).messages


def _job() -> Submission:
    return Submission(
        secrets.token_hex(16), "classify.sentiment", REQUEST, Lane.STANDARD, tier=Tier.SIMPLE, cloud="deny"
    )


def _replicas() -> Replicas:
    """Return the replicas as Serve's controller has them."""
    import ray
    from ray.serve.context import _get_global_client

    details = ray.get(_get_global_client()._controller.get_serve_instance_details.remote())
    target = details["applications"][TARGET]["deployments"][TARGET]
    running = [each["node_id"] for each in target["replicas"] if each["state"] == "RUNNING"]
    return Replicas(target["target_num_replicas"], running)


def _applications() -> list[dict[str, Any]]:
    """Return the model, from none to `MOST` replicas by the fleet's rules, and the dispatcher."""
    from deployments.profiles import Profile
    from deployments.serve.declared import Declared

    declared = Declared(Profile.LOCAL, [TARGET], host={"factory": DISPATCHER}, readings=READINGS, least=0)
    model, dispatcher = declared.applications()
    model |= {"import_path": "benchmarks.autoscaler.engine:build", "args": {"jobs_per_second": JOBS_PER_SECOND}}
    model["deployments"][0]["autoscaling_config"]["max_replicas"] = MOST
    return [model, dispatcher]


def _serve(address: str) -> None:
    """Start Serve with a proxy on the head only: one on every machine keeps it half a minute longer while it drains."""
    from deployments import cluster

    cluster.connect(address)
    from ray import serve

    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": free_port()})
    cluster.deploy(_applications())


async def _main(address: str, folder: Path, nats_url: str) -> None:
    import ray

    await apply_topology(nats_url)
    try:
        await asyncio.to_thread(_serve, address)
        desk, eyes = await JetStreamDesk.connect(nats_url, TENANT), await connect(nats_url, name="eyes")
        outcome = await Story(Cluster(address, folder / "ray"), desk, eyes).tell()
        await desk.close()
        await eyes.close()
    finally:
        ray.shutdown()  # before anything is said of a failure: it would be lost in what Ray has to say
    (folder / OUTCOME).write_text(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
