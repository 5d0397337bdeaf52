"""A redraw: a job's question asked once more, to see whether what was found out about its answers is chance."""

from __future__ import annotations

import hashlib
import re

_REDRAW = re.compile(r"redraw-[0-9a-f]{32}")


def redraw_of(tenant: str, job_id: str) -> str:
    """Return the id of the job that asks this one's question again: always the same, so it is asked again once."""
    return f"redraw-{hashlib.blake2b(f'{tenant}.{job_id}'.encode(), digest_size=16).hexdigest()}"


def is_redraw(job_id: str) -> bool:
    """Return whether a job asks another one's question again. It counts in no report of traffic and no calibration."""
    return _REDRAW.fullmatch(job_id) is not None
