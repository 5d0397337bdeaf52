"""Jobs and work to send through a queue."""

from __future__ import annotations

from fleet.model.delivery import JobsOf, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Work
from fleet.model.submission import Submission

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BULK = JobsOf(Lane.BULK)
SMALL = WorkOf("llama-8b", Lane.BULK)


def submission(number: int = 0, lane: Lane = Lane.BULK) -> Submission:
    request = {"messages": [{"role": "user", "content": f"Remind me, número {number}"}], "temperature": 0.1}
    return Submission(id=f"job-{number:012d}", task="nudge", request=request, lane=lane)


def job(number: int = 0, tenant: str = "acme") -> Job:
    sent = submission(number)
    return Job(sent.id, tenant, Lane.BULK, "nudge", Plan.PAID, sent.request, submitted_at=1_790_000_000.25)


def work(number: int = 0, hop: int = 0, target: str = "llama-8b") -> Work:
    return Work(job(number), target, Reason.ROUTED, hop)


def number_of(body: Job | Work | Malformed) -> int:
    assert not isinstance(body, Malformed)
    taken = body.job if isinstance(body, Work) else body
    return int(taken.id.removeprefix("job-"))
