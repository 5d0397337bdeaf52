"""Decodes a message taken from one of the dispatchers' sources."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.model.delivery import JobsOf, Source, WorkOf
from fleet.model.job import Job
from fleet.model.result import Malformed, Work
from queues.wire.job import decode_job
from queues.wire.work import decode_work


def decode(
    source: Source, body: bytes, headers: Mapping[str, str] | None, subject: str, stored_at: float
) -> Job | Work | Malformed:
    """Return what a message taken from `source` holds."""
    match source:
        case JobsOf():
            return decode_job(body, headers, subject, stored_at)
        case WorkOf():
            return decode_work(body, subject, headers)
