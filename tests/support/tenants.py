"""What tenants send to a dispatcher on the in-process queue, and what they get."""

from __future__ import annotations

from fleet.model.job import Lane
from fleet.model.submission import Submission
from queues.memory import MemoryDesk


def request_of(text, model=None):
    request = {"messages": [{"role": "user", "content": text}], "max_tokens": 100}
    return request if model is None else {**request, "model": model}


async def submit_as(bench, tenant, count, lane=Lane.BULK, model=None):
    """Submit jobs of the tenant, whose text is its name; their ids."""
    submissions = [
        Submission(f"job-{tenant}-{model}-{n:010d}", "classify.sentiment", request_of(tenant, model), lane)
        for n in range(count)
    ]
    await MemoryDesk(bench.broker, tenant).submit(submissions)
    return [submission.id for submission in submissions]


async def results_of(bench, tenant, ids):
    """The results of these jobs, once all are stored."""
    desk, found = MemoryDesk(bench.broker, tenant), []
    for job_id in ids:
        while (result := await desk.result(job_id)) is None:
            await bench.broker.changed_once()
        found.append(result)
    return found


async def until_depths(bench, condition):
    """Return when the depths are so."""
    while not condition(bench.broker.depths()):
        await bench.broker.changed_once()
