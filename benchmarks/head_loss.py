"""Kills Ray's head under load, leaves it away and brings it back; counts jobs lost and doubled, and measures the pause.

Real: NATS, Redis with the tables of Ray's GCS, a head and a worker node (`ray start`), Serve, its dispatcher on the
head, and two plain dispatchers outside Ray. Stand-ins: the model (`benchmarks.autoscaler.engine`) and the cloud
provider. Half of the jobs must stay on the fleet's own model; the others name a model of the provider.

    python -m benchmarks.head_loss [--away 60] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.autoscaler.engine import TARGET
from benchmarks.autoscaler.machines import STORE_BYTES, end_session, environment
from benchmarks.chaos.provider import Provider
from fleet.app import apply_topology
from fleet.loopback import free_port
from fleet.model.job import Lane, Tier
from fleet.model.submission import Submission
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.journal import recorded
from queues.server.embedded import EmbeddedServer
from queues.wire.subjects import RESULTS

ROOT: Final = Path(__file__).parents[1]
BIN: Final = Path(sys.executable).parent
HEAD_IP, WORKER_IP = "127.0.0.2", "127.0.0.3"
TENANT: Final = "demo"
CLOUD_MODEL: Final = "gpt-4o-mini"
DISPATCHER: Final = "fleet.app:dispatcher_from_environment"
REQUEST: Final = {"messages": [{"role": "user", "content": "invented Is this positive or negative? All went well."}]}
PAIRS_PER_SECOND: Final = 5
BEFORE_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 900.0
MOST_STARTS: Final = 10

RAY: Final = {
    # Both nodes are on this machine; Ray turns 127.0.0.1 into an address that others reach, but no other of loopback's.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    # What survives the head waits for it this long, rather than a minute.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_health_check_period_ms": "1000",
    # A machine that is busy with other things as well starts slowly.
    "RAY_agent_register_timeout_ms": "300000",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of a run; a pause is the longest time without an answer to a job of that kind, in seconds."""

    jobs: int
    answered: int
    lost: int
    duplicates: int
    statuses: Mapping[str, int]
    failed: Mapping[str, str]
    away_seconds: float
    head_start_seconds: float
    own_pause_seconds: float
    cloud_pause_seconds: float
    own_answered_while_away: int
    cloud_answered_while_away: int
    plain_dispatchers_alive: int


@dataclass(slots=True)
class Load:
    """Submits pairs of jobs until told to stop, and remembers when each was answered."""

    desk: JetStreamDesk
    own: list[str] = field(default_factory=list)
    cloud: list[str] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[float, str]] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self) -> None:
        while not self.stop.is_set():
            own, cloud = _own_job(), _cloud_job()
            await self.desk.submit([own, cloud])
            self.own.append(own.id)
            self.cloud.append(cloud.id)
            await asyncio.sleep(1 / PAIRS_PER_SECOND)

    async def hear(self) -> None:
        async for result in self.desk.results():
            self.answered.setdefault(result.job_id, time.time())
            self.statuses[result.status.value] += 1
            if result.answer is None:
                told = [getattr(each.outcome, "detail", "answered") for each in result.attempts]
                self.failed.append((time.time(), f"{result.reason.value} {told}"))

    def between(self, ids: Sequence[str], begin: float, end: float) -> int:
        return sum(begin < self.answered.get(job, 0.0) <= end for job in ids)

    def pause(self, ids: Sequence[str]) -> float:
        times = sorted(self.answered[job] for job in ids if job in self.answered)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _own_job() -> Submission:
    return Submission(
        secrets.token_hex(16), "classify.sentiment", REQUEST, Lane.STANDARD, tier=Tier.SIMPLE, cloud="deny"
    )


def _cloud_job() -> Submission:
    request = {**REQUEST, "model": CLOUD_MODEL}
    return Submission(secrets.token_hex(16), "classify.sentiment", request, Lane.STANDARD)


class Cluster:
    """A head and a worker node, each in a session of its own, so that all of one is killed at once."""

    def __init__(self, folder: Path, redis: int, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, {**env, "RAY_REDIS_ADDRESS": f"127.0.0.1:{redis}"}
        self._port, self._client_port = free_port(), free_port()
        self._sessions: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"{HEAD_IP}:{self._port}"

    def start_head(self) -> None:
        own = ("--head", f"--port={self._port}", f"--temp-dir={self._folder / 'ray'}", "--include-dashboard=false")
        self._start("head", HEAD_IP, 4, 0, *own, f"--ray-client-server-port={self._client_port}")

    def start_worker(self) -> None:
        """One CPU, which the model takes: no dispatcher finds room beside it."""
        self._start("worker", WORKER_IP, 1, 1, f"--address={self.address}")

    def kill(self, name: str) -> None:
        if (session := self._sessions.pop(name, None)) is not None:
            end_session(session)

    def _start(self, name: str, ip: str, cpus: int, gpus: int, *own: str) -> None:
        """Start a node as a supervisor does: again where it fails, as where a busy machine starts an agent too late."""
        shared = (f"--node-ip-address={ip}", f"--num-cpus={cpus}", f"--num-gpus={gpus}", "--disable-usage-stats")
        more = ("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0", "--block")
        command = ("start", *own, *shared, *more, f"--object-store-memory={STORE_BYTES}")
        for number in range(MOST_STARTS):
            log = self._folder / f"{name}-{time.time():.0f}-{number}.log"
            # Ray takes the worker's raylet, on the same machine, for a sign that this cluster runs here already.
            (self._folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
            if self._has_started(name, command, log):
                return
            self.kill(name)
        raise RuntimeError(log.read_text())

    def _has_started(self, name: str, command: Sequence[str], log: Path) -> bool:
        with log.open("w") as told:
            process = subprocess.Popen(
                [BIN / "ray", *command], env=self._env, stdout=told, stderr=told, start_new_session=True
            )
        self._sessions[name] = process.pid
        _until(lambda: "runtime started" in log.read_text() or process.poll() is not None, f"the {name} starts")
        return process.poll() is None


def _until(look: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


@contextmanager
def _process(*command: str | Path, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as told:
        process = subprocess.Popen(command, env=env, stdout=told, stderr=told)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def deploy(address: str) -> None:
    """Deploy the model on the worker and the dispatcher on the head; run in a process of its own."""
    import ray
    from ray import serve

    from deployments import cluster
    from deployments.profiles import Profile
    from deployments.serve.declared import Declared

    ray.init(address=address, _node_ip_address=HEAD_IP, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    model, dispatcher = Declared(Profile.LOCAL, [TARGET], host={"factory": DISPATCHER}).applications()
    model |= {"import_path": "benchmarks.autoscaler.engine:build", "args": {"jobs_per_second": 100}}
    cluster.deploy([model, dispatcher])


async def _run(folder: Path, away_seconds: float) -> Outcome:
    with ExitStack() as parts:
        broker = parts.enter_context(EmbeddedServer(folder / "nats"))
        env = environment() | RAY | {"FLEET_NATS_URL": broker.url, "PYTHONPATH": str(ROOT), "FLEET_PROFILE": "local"}
        port = free_port()
        redis = ("redis-server", "--port", str(port), "--save", "", "--dir", str(folder))
        parts.enter_context(_process(*redis, env=env, log=folder / "redis.log"))
        await apply_topology(broker.url)
        cluster = Cluster(folder, port, env)
        for name in ("head", "worker"):
            parts.callback(cluster.kill, name)
        await asyncio.to_thread(cluster.start_head)
        await asyncio.to_thread(cluster.start_worker)
        command = [sys.executable, "-m", "benchmarks.head_loss", "--deploy", cluster.address]
        with (folder / "deploy.log").open("w") as told:
            await asyncio.to_thread(subprocess.run, command, env=env, check=True, stdout=told, stderr=told)
        async with Provider(1, error_share=0.0) as provider:
            keys = {"OPENAI_API_KEY": "sk-invented-for-a-benchmark", "FLEET_OPENAI_BASE_URL": f"{provider.url}/openai"}
            plain = [
                parts.enter_context(
                    _process(BIN / "fleet", "dispatcher", env=env | keys, log=folder / f"plain-{number}.log")
                )
                for number in (1, 2)
            ]
            logs = [folder / f"plain-{number}.log" for number in (1, 2)]
            await _eventually(lambda: all("dispatcher_started" in log.read_text() for log in logs))
            return await _story(broker.url, cluster, plain, away_seconds)


async def _story(url: str, cluster: Cluster, plain: Sequence[subprocess.Popen[bytes]], away_seconds: float) -> Outcome:
    desk = await JetStreamDesk.connect(url, TENANT)
    load = Load(desk)
    hearing = asyncio.create_task(load.hear())
    submitting = asyncio.create_task(load.submit())
    await _eventually(lambda: load.between(load.own, 0, time.time()) > 5 < load.between(load.cloud, 0, time.time()))
    await asyncio.sleep(BEFORE_SECONDS)
    killed_at = time.time()
    await asyncio.to_thread(cluster.kill, "head")
    await asyncio.sleep(away_seconds)
    begun_at = time.time()
    await asyncio.to_thread(cluster.start_head)
    back_at = time.time()
    await _eventually(lambda: load.between(load.own, back_at, time.time()) > len(load.own) // 4)
    load.stop.set()
    await submitting
    await _eventually(lambda: len(load.answered) == len(load.own) + len(load.cloud))
    hearing.cancel()
    stored = await _stored(url)
    await desk.close()
    jobs = [*load.own, *load.cloud]
    return Outcome(
        jobs=len(jobs),
        answered=len(load.answered),
        lost=len(set(jobs) - stored.keys()),
        duplicates=sum(count - 1 for count in stored.values()),
        statuses=dict(load.statuses),
        failed=_told(load.failed, killed_at),
        away_seconds=round(begun_at - killed_at, 1),
        head_start_seconds=round(back_at - begun_at, 1),
        own_pause_seconds=round(load.pause(load.own), 1),
        cloud_pause_seconds=round(load.pause(load.cloud), 1),
        own_answered_while_away=load.between(load.own, killed_at, begun_at),
        cloud_answered_while_away=load.between(load.cloud, killed_at, begun_at),
        plain_dispatchers_alive=sum(process.poll() is None for process in plain),
    )


def _told(failed: Sequence[tuple[float, str]], killed_at: float) -> Mapping[str, str]:
    """Return how many jobs failed for each reason, and when after the kill."""
    times: dict[str, list[float]] = {}
    for at, why in failed:
        times.setdefault(why, []).append(at - killed_at)
    return {why: f"{len(found)}, from {min(found):.0f} to {max(found):.0f} s" for why, found in times.items()}


async def _stored(url: str) -> Counter[str]:
    """Return how many results the stream holds, by job."""
    connection = await connect(url, name="head-loss")
    try:
        return Counter([message.subject.rpartition(".")[2] async for message in recorded(connection, RESULTS)])
    finally:
        await connection.close()


async def _eventually(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not look():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--away", type=float, default=60.0, help="seconds between the head's end and its new start")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--deploy", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.deploy:
        deploy(arguments.deploy)
        return
    folder = Path(tempfile.mkdtemp(prefix="head-"))  # Unix socket paths are short
    try:
        outcome = asdict(asyncio.run(_run(folder, arguments.away)))
    except BaseException:
        sys.stderr.write(f"the logs are in {folder}\n")
        raise
    shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(outcome) if arguments.json else "\n".join(f"{name}: {value}" for name, value in outcome.items()))
    sys.exit(bool(outcome["lost"] or outcome["duplicates"]))


if __name__ == "__main__":
    main()
