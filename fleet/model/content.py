"""The content of a job: what was asked and what was answered, for the tasks whose rule collects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.job import ChatRequest
from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class Content:
    """A job's request and the answer that was delivered. `at` is when, in unix seconds.

    `person` is the opaque id of whom it is about, as the job says.
    """

    job_id: str
    tenant: str
    task: str
    at: float
    request: ChatRequest
    message: Mapping[str, Any]
    target: str | None = None
    person: str | None = None
