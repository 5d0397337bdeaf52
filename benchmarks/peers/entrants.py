"""The peers: what each needs, how its worker is started, and how it is kept from losing jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / "peers" / "bin"
OWN = Path(sys.executable).parent
WORKERS = "benchmarks.peers.workers"


@dataclass(frozen=True, slots=True)
class Where:
    """A place where jobs or results are kept: a JetStream stream, a Redis list, or the Redis command that writes one.

    `following` are the queues a job goes through after this one.
    """

    broker: str
    name: str
    following: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Entrant:
    """A peer. `module` is its client and, without a `command`, its worker; `jobs` is how many it gets in a round.

    `supervised` says that the peer starts the process anew itself when it dies; its id is then in a file.
    """

    name: str
    module: str
    jobs: int
    queue: Where
    results: Where
    how: str
    folder: Path = ENVIRONMENT
    command: Sequence[str] = ()
    supervised: bool = False

    @property
    def needs_redis(self) -> bool:
        return "redis" in (self.queue.broker, self.results.broker)

    @property
    def python(self) -> str:
        return str(self.folder / "python")

    @property
    def worker(self) -> list[str]:
        if self.command:
            return [str(self.folder / self.command[0]), *self.command[1:]]
        return self.client("work", 0)

    def client(self, verb: str, jobs: int) -> list[str]:
        return [self.python, "-m", f"{WORKERS}.{self.module}", verb, str(jobs)]


TASKIQ_WORKER = (
    *("taskiq", "worker", f"{WORKERS}.taskiq_nats:broker", "--workers", "1", "--ack-type", "when_saved"),
    *("--max-async-tasks", "100", "--log-level", "WARNING"),
)
CELERY_WORKER = (
    *("celery", "-A", f"{WORKERS}.celery_redis", "worker", "--pool", "threads", "--concurrency", "8"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"),
)

FLEET = Entrant(
    "fleet",
    "fleet",
    10_000,
    Where("nats", "JOBS", ("WORK",)),
    Where("nats", "RESULTS"),
    "file-backed streams; acknowledged after the result is stored; one result per job by a fence; ledger on",
    OWN,
)
TASKIQ = Entrant(
    "taskiq-nats",
    "taskiq_nats",
    2_000,
    Where("nats", "TASKS"),
    Where("redis", "set"),
    "JetStream pull of 100, 100 tasks at once; acknowledged when the result is saved; results in Redis",
    command=TASKIQ_WORKER,
)
CELERY = Entrant(
    "celery + redis",
    "celery_redis",
    2_000,
    Where("redis", "celery"),
    Where("redis", "setex"),
    "8 threads, prefetch 64 each; late acknowledgement, rejected on loss; append-only file, synced each second",
    command=CELERY_WORKER,
)
RAY_SERVE = Entrant(
    "ray serve async",
    "ray_serve",
    2_000,
    Where("redis", "ray_serve"),
    Where("redis", "setex"),
    "one replica as task consumer, Celery adapter, 8 threads, prefetch 64 each; late acknowledgement; the same Redis",
    supervised=True,
)
RAW = Entrant(
    "raw nats-py",
    "raw",
    20_000,
    Where("nats", "IN"),
    Where("nats", "OUT"),
    "pull of 256; results with ids, each confirmed; then acknowledged",
    OWN,
)
ENTRANTS = (FLEET, TASKIQ, CELERY, RAY_SERVE, RAW)
