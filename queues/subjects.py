"""Names on the wire: streams, subjects and headers. Nothing else in the fleet spells them."""

from __future__ import annotations

from fleet.model.delivery import JobsOf, Source, WorkOf
from fleet.model.errors import InvalidJob
from fleet.model.feedback import Witness
from fleet.model.job import JOB_ID, Lane

JOBS = "JOBS"
WORK = "WORK"
RESULTS = "RESULTS"
LEDGER = "LEDGER"
DEAD = "DEAD"
FEEDBACK = "FEEDBACK"
CALIBRATIONS = "KV_calibrations"
"""The stream under the key-value bucket `calibrations`."""

SPEND = "KV_spend"
"""The stream under the key-value bucket `spend`."""

MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
TRACEPARENT = "traceparent"


def job_subject(lane: Lane, tenant: str) -> str:
    return f"jobs.{lane}.{tenant}"


def work_subject(target: str, lane: Lane, tenant: str) -> str:
    return f"work.{target}.{lane}.{tenant}"


def result_subject(tenant: str, job_id: str) -> str:
    return f"results.{tenant}.{job_id}"


def ledger_subject(tenant: str) -> str:
    return f"ledger.{tenant}"


def dead_subject(tenant: str) -> str:
    return f"dead.{tenant}"


def feedback_subject(tenant: str, source: Witness) -> str:
    """A dispatcher's own comparisons have a subject that no publisher is given the right to."""
    return f"feedback.{tenant}.shadow" if source is Witness.SHADOW else f"feedback.{tenant}"


def calibration_subject(key: str) -> str:
    return f"$KV.calibrations.{key}"


def spend_subject(key: str) -> str:
    return f"$KV.spend.{key}"


def stream_of(source: Source) -> str:
    match source:
        case JobsOf():
            return JOBS
        case WorkOf():
            return WORK


def consumer_of(source: Source) -> str:
    """The durable consumer's name. No lane has a dash, so target and lane stay apart."""
    match source:
        case JobsOf(lane):
            return lane.value
        case WorkOf(target, lane):
            return f"{target}-{lane}"


def filter_of(source: Source) -> str:
    """The subject filter of the source: all tenants of a lane."""
    match source:
        case JobsOf(lane):
            return job_subject(lane, "*")
        case WorkOf(target, lane):
            return work_subject(target, lane, "*")


def checked_job_id(job_id: str) -> str:
    """The id as given. Raises: InvalidJob if it is none; it is about to become part of a subject."""
    if JOB_ID.fullmatch(job_id) is None:
        raise InvalidJob("id", f"must match {JOB_ID.pattern}")
    return job_id
