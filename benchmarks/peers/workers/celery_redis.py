"""Celery on Redis: late acknowledgement and a large prefetch, as its guide advises for many short tasks.

The worker: `celery -A benchmarks.peers.workers.celery_redis worker --pool threads --concurrency 8`.
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery

from benchmarks.peers.chat import answer_now
from benchmarks.peers.work import KOMBU, body_of, new_job, print_times, redis_url, told

QUEUE = "celery"

app = Celery("peers", broker=redis_url(0), backend=redis_url(1))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_transport_options=KOMBU,
)


@app.task(name="answer")
def answer(body: str) -> str:
    return answer_now(body)


def _submit() -> Any:
    job = new_job()
    return app.send_task("answer", args=[body_of(job)], task_id=job)


def fill(jobs: int) -> None:
    for _ in range(jobs):
        _submit()


def idle(jobs: int) -> None:
    times = []
    for _ in range(jobs):
        started = time.perf_counter()
        _submit().get(timeout=30)
        times.append((time.perf_counter() - started) * 1000)
    print_times(times)


if __name__ == "__main__":
    verb, count = told()
    {"fill": fill, "idle": idle}[verb](count)
