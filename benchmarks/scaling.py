"""Sends a burst to the local fleet at rest: the fleet's scaling rules against Ray Serve's default policy.

Everything runs, with Llama 8B at its minimum number of replicas; then all jobs come at once. Per policy: seconds until
the last answer and until the replicas are gone, replica-seconds (starting ones count, they cost the same) over the same
span, and jobs without an answer before their deadline. Serve's policy counts ongoing requests of its own handles, so
there the dispatcher hands over whether a replica runs or not, as it does if it cannot see replicas.

    python -m benchmarks.scaling [--jobs 2000] [--policies fleet serve serve_from_zero] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from fleet.app import apply_topology, worker
from fleet.loopback import free_port
from fleet.model.job import Lane, Tier
from fleet.model.result import Status
from fleet.model.scaling import Capacity
from fleet.model.submission import Submission
from queues.jetstream.desk import JetStreamDesk
from queues.server.embedded import EmbeddedServer

TARGET = "llama-8b"
TENANT = "demo"
MOST = 2
SAMPLE_SECONDS = 0.5
PATIENCE_SECONDS = 400.0
REQUEST = {
    "messages": [{"role": "user", "content": "Is this note positive or negative? " + "All went well. " * 4}],
    "max_tokens": 32,
}
SCALING = {"settle_seconds": 10.0, "idle_seconds": 20.0}
"""Shorter than shipped, so that the way back to none can be watched."""

READINGS = "fleet.app.scaling:readings_from_environment"
BLIND = "benchmarks.scaling:blind_dispatcher"
BOUNDS = {"fleet": (0, MOST), "serve": (1, MOST), "serve_from_zero": (0, MOST)}

AT = r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"
OURS = re.compile(rf"{AT} .*scaling target={TARGET} from=(\d+) to=(\d+) reason=(\w+) .*waiting_tokens=(\w+)")
SERVES = re.compile(rf"{AT} .*(?:Up|Down)scaling Deployment\(name='{TARGET}'.* from (\d+) to (\d+) replicas")
"""The lines that Serve's controller logs: the first by the fleet's policy, the second by Serve itself."""


@dataclass(slots=True)
class Outcome:
    """One policy's figures for the burst; seconds count from the moment all jobs were there."""

    policy: str
    jobs: int
    answered: int = 0
    missed: int = 0
    first_answer_seconds: float = 0.0
    drain_seconds: float = 0.0
    gone_seconds: float | None = None
    span_seconds: float = 0.0
    replica_seconds: float = 0.0
    most_replicas: int = 0
    decisions: list[str] = field(default_factory=list)


def main() -> None:
    arguments = _arguments()
    outcomes = [_measured(policy, arguments) for policy in arguments.policies]
    if arguments.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
        return
    for outcome in outcomes:
        print(f"\n{outcome.policy}")
        print("\n".join(f"  {line}" for line in outcome.decisions))
    print("\n" + "\n".join(_table(outcomes)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds each job has")
    parser.add_argument("--span", type=float, default=180.0, help="seconds that replicas are counted for")
    parser.add_argument("--policies", nargs="+", choices=BOUNDS, default=list(BOUNDS))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _measured(policy: str, arguments: argparse.Namespace) -> Outcome:
    """Measure in a process of its own, because Ray reads its environment once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_in_process, policy, arguments).result()


def _in_process(policy: str, arguments: argparse.Namespace) -> Outcome:
    return asyncio.run(_burst(policy, arguments))


async def _burst(policy: str, arguments: argparse.Namespace) -> Outcome:
    with _folder() as folder:
        async with _fleet(policy, folder) as desk:
            jobs = [_job(arguments.deadline) for _ in range(arguments.jobs)]
            outcome = Outcome(policy, len(jobs))
            collecting = asyncio.create_task(_collect(desk, jobs, outcome))
            await asyncio.sleep(0)
            await desk.submit(jobs)
            started = time.time()
            await _watch(outcome, collecting, started, arguments.span)
            answers = collecting.result()
            outcome.first_answer_seconds = min(answers.values()) - started
            outcome.drain_seconds = max(answers.values()) - started
            outcome.decisions = list(_decisions(policy, folder, started))
            return outcome


async def _collect(desk: JetStreamDesk, jobs: Sequence[Submission], outcome: Outcome) -> Mapping[str, float]:
    """Return the time of each result, and count those that are late or no answer."""
    deadlines = {job.id: job.deadline_at for job in jobs}
    found: dict[str, float] = {}
    async for result in desk.results():
        at, deadline = time.time(), deadlines.get(result.job_id)
        if deadline is None or result.job_id in found:
            continue
        found[result.job_id] = at
        good = result.status in (Status.SUCCEEDED, Status.BEST_EFFORT)
        outcome.answered += good
        outcome.missed += not good or at > deadline
        if len(found) == len(jobs):
            break
    return found


async def _watch(outcome: Outcome, collecting: asyncio.Task[Any], started: float, span: float) -> None:
    """Count replicas over the span; end when it is over and every job has its result."""
    from deployments import cluster

    before = time.time()
    while not (collecting.done() and before - started >= span):
        if before - started > PATIENCE_SECONDS:
            raise RuntimeError(
                f"{outcome.policy}: only {outcome.answered} of {outcome.jobs} answered: {cluster.status()}"
            )
        await asyncio.sleep(SAMPLE_SECONDS)
        replicas = (await asyncio.to_thread(cluster.status))[TARGET].wanted
        now = time.time()
        if before - started < span:
            outcome.replica_seconds += replicas * (min(now, started + span) - before)
            outcome.span_seconds = min(now - started, span)
        outcome.most_replicas = max(outcome.most_replicas, replicas)
        if replicas:
            outcome.gone_seconds = None
        elif collecting.done() and outcome.gone_seconds is None:
            outcome.gone_seconds = now - started
        before = now


def _job(deadline_seconds: float) -> Submission:
    deadline_at = time.time() + deadline_seconds
    return Submission(
        secrets.token_hex(16),
        "classify.sentiment",
        REQUEST,
        Lane.STANDARD,
        tier=Tier.SIMPLE,
        cloud="deny",
        deadline_at=deadline_at,
    )


@asynccontextmanager
async def _fleet(policy: str, folder: Path) -> AsyncIterator[JetStreamDesk]:
    from deployments import cluster

    broker = EmbeddedServer(folder / "nats")
    broker.start()
    try:
        await apply_topology(broker.url)
        os.environ |= {
            "FLEET_NATS_URL": broker.url,
            "FLEET_RULES_PATH": str(_rules(folder)),
            "FLEET_LOG_LEVEL": "error",
        }
        await asyncio.to_thread(cluster.start, dashboard=False, http_port=free_port(), temp_dir=folder)
        try:
            await asyncio.to_thread(cluster.deploy, _applications(policy))
            desk = await JetStreamDesk.connect(broker.url, TENANT)
            try:
                yield desk
            finally:
                await desk.close()
        finally:
            await asyncio.to_thread(cluster.stop)
    finally:
        broker.stop()


def _applications(policy: str) -> list[dict[str, Any]]:
    """Return Llama 8B under the policy, and a dispatcher. Serve's policy is left at its defaults."""
    from deployments.profiles import Profile
    from deployments.serve.declared import Declared

    own = policy == "fleet"
    factory = "fleet.app:dispatcher_from_environment" if own else BLIND
    declared = Declared(Profile.LOCAL, [TARGET], host={"factory": factory}, readings=READINGS if own else None)
    model, dispatcher = declared.applications()
    least, most = BOUNDS[policy]
    [deployment] = model["deployments"]
    rules = deployment["autoscaling_config"] if own else {}
    deployment["autoscaling_config"] = {**rules, "min_replicas": least, "max_replicas": most}
    return [model, dispatcher]


class NothingSeen:
    """The `fleet.ports.Capacities` of a dispatcher that does not see replicas: nothing counts as cold."""

    async def read(self) -> Mapping[str, Capacity]:
        return {}


def blind_dispatcher() -> worker.DispatcherProcess:
    """Return the dispatcher of a replica, which is alone in its process."""
    worker.fleet_capacities = NothingSeen
    return worker.dispatcher_from_environment()


def _rules(folder: Path) -> Path:
    """Write the shipped rules, with one target for all jobs, whose every answer is accepted."""
    import policies

    rules = yaml.safe_load((Path(policies.__file__).parent / "rules.yaml").read_text())
    for phase in rules["phases"].values():
        phase["simple"] = [TARGET]
    for plan in rules["plans"].values():
        plan["thresholds"]["simple"] = 0.0
    rules["confidence"]["gates"] = []
    rules["scaling"] |= SCALING
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


def _decisions(policy: str, folder: Path, started: float) -> Iterator[str]:
    """Yield what the log of Serve's controller says about the target since `started`."""
    pattern = OURS if policy == "fleet" else SERVES
    for path in sorted(folder.glob("session_[0-9]*/logs/serve/controller_*.log")):
        for found in map(pattern.search, path.read_text(errors="replace").splitlines()):
            if found is None:
                continue
            at, old, new, *why = found.groups()
            seconds = datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC).timestamp() - started
            if seconds >= 0:
                reason, tokens = why or ("", "")
                yield f"{seconds:7.1f} s  {old} -> {new}  {reason:<18} {tokens and tokens + ' tokens wait'}".rstrip()


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    names = [name for name in asdict(outcomes[0]) if name not in ("policy", "decisions")]
    yield " " * 22 + "".join(f"{outcome.policy:>17}" for outcome in outcomes)
    for name in names:
        values = (getattr(outcome, name) for outcome in outcomes)
        yield f"{name:<22}" + "".join(f"{'-' if value is None else format(value, ',.1f'):>17}" for value in values)


@contextmanager
def _folder() -> Iterator[Path]:
    """Provide a folder with a short path, as Unix sockets need it."""
    folder = tempfile.mkdtemp(prefix="fleet-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
