"""What the peers have in common: the job, the answer, where the brokers are. Imports nothing, as it runs everywhere."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

JOB_BYTES = 300
TASK = "classify.sentiment"
ANSWER = "positive"

REDELIVERY_SECONDS = 5
"""Seconds after which every peer's broker hands a dead worker's jobs out again."""

KOMBU = {"visibility_timeout": REDELIVERY_SECONDS, "unacked_restore_throttle": 1}
"""How kombu's transport on Redis looks for jobs of dead workers; by default after an hour, at every tenth look."""

NATS, REDIS, FOLDER, RUNS = "PEERS_NATS", "PEERS_REDIS", "PEERS_FOLDER", "PEERS_RUNS"
"""Variables: nats-server's URL, redis-server's socket, a folder, and the file that lists runs of jobs, if any."""

ENGINE = "PEERS_ENGINE"
"""Variable: host and port of the engine, where a job is a real chat."""

ENGINE_MODEL = "llama-8b"

WARM_UP_JOBS = 20


def new_job() -> str:
    return uuid.uuid4().hex


def request_of(job: str) -> dict[str, object]:
    """Return a chat request of `JOB_BYTES` as JSON whose prompt starts with the job's id."""
    bare = {"messages": [{"role": "user", "content": f"{job} Classify the sentiment of this note: "}]}
    padding = JOB_BYTES - len(json.dumps(bare))
    text = f"{job} Classify the sentiment of this note: {('all went well ' * JOB_BYTES)[:padding]}"
    return {"messages": [{"role": "user", "content": text}]}


def body_of(job: str) -> str:
    return json.dumps(request_of(job))


def answer_to(body: str) -> str:
    """Return the answer at once; where runs are to be listed, list this one."""
    if RUNS in os.environ:
        note_run(json.loads(body)["messages"][0]["content"])
    return ANSWER


def note_run(prompt: str) -> None:
    """Append the id of the prompt's job to the list of runs; a line is written whole, so that kills tear none."""
    with Path(os.environ[RUNS]).open("ab", buffering=0) as file:
        file.write(prompt.split()[0].encode() + b"\n")


def redis_url(database: int) -> str:
    """Return the address of a database in the form that Celery and kombu take."""
    return f"redis+socket://{os.environ[REDIS]}?virtual_host={database}"


def told() -> tuple[str, int]:
    """Return what this process is to do, and for how many jobs."""
    return sys.argv[1], int((sys.argv[2:] or ["0"])[0])


def print_times(milliseconds: Iterable[float]) -> None:
    """Print the times of an idle system, without those of its first jobs."""
    print(json.dumps(list(milliseconds)[WARM_UP_JOBS:]))
