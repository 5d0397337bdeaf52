"""Ray Serve's asynchronous inference: one replica that is a task consumer, by the Celery adapter on Redis.

Ray sets late acknowledgement and rejection on loss itself. The controller starts a new replica for one that died.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig
from ray.serve.task_consumer import instantiate_adapter_from_config, task_consumer, task_handler

from benchmarks.peers.chat import answer_now
from benchmarks.peers.work import (
    FOLDER,
    KOMBU,
    body_of,
    new_job,
    print_times,
    redis_url,
    told,
)

QUEUE = "ray_serve"
CONCURRENCY = 8
POLL_SECONDS = 0.001
REPLICA_FILE = "replica.pid"


def processing() -> TaskProcessorConfig:
    return TaskProcessorConfig(
        queue_name=QUEUE,
        adapter_config=CeleryAdapterConfig(
            broker_url=redis_url(0),
            backend_url=redis_url(1),
            app_custom_config={"worker_prefetch_multiplier": 64},
            broker_transport_options=KOMBU,
        ),
    )


class Answering:
    """The task consumer; it says in a file which process it is."""

    def __init__(self) -> None:
        Path(os.environ[FOLDER], REPLICA_FILE).write_text(str(os.getpid()))

    @task_handler(name="answer")
    def answer(self, body: str) -> str:
        return answer_now(body)


def work(_: int) -> None:
    consumer = task_consumer(task_processor_config=processing())(Answering)
    deployment = serve.deployment(num_replicas=1, max_ongoing_requests=CONCURRENCY)(consumer)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=f"{os.environ[FOLDER]}/ray")
    serve.start(http_options=HTTPOptions(location="NoServer"))
    serve.run(deployment.bind(), route_prefix=None)
    signal.pause()


def fill(jobs: int) -> None:
    adapter = instantiate_adapter_from_config(processing())
    for _ in range(jobs):
        job = new_job()
        adapter.enqueue_task_sync("answer", args=[body_of(job)], task_id=job)


def idle(jobs: int) -> None:
    adapter = instantiate_adapter_from_config(processing())
    times = []
    for _ in range(jobs):
        job = new_job()
        started = time.perf_counter()
        adapter.enqueue_task_sync("answer", args=[body_of(job)], task_id=job)
        while adapter.get_task_status_sync(job).status != "SUCCESS":
            time.sleep(POLL_SECONDS)
        times.append((time.perf_counter() - started) * 1000)
    print_times(times)


if __name__ == "__main__":
    verb, count = told()
    {"work": work, "fill": fill, "idle": idle}[verb](count)
