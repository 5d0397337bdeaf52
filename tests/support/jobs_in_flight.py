"""Jobs taken from WORK, for tests of a single stage."""

from __future__ import annotations

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.delivery import Delivery, WorkOf
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Work


def in_flight(name: str, target: str) -> InFlightJob:
    job = Job(f"job-{name:0>12}", "acme", Lane.BULK, "nudge", Plan.PAID, {"messages": []}, submitted_at=1.0)
    return InFlightJob.of(Delivery(Work(job, target, Reason.ROUTED), WorkOf(target, Lane.BULK), 1, 1.0))
