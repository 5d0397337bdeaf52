"""A submission: a job on its way in, before the queue has stored it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.model.errors import InvalidJob
from fleet.model.job import REQUEST_FIELDS, ChatRequest, JobOptions, JobTerms, Lane, Plan, Tier

_WORDS: Mapping[str, type[StrEnum]] = {"lane": Lane, "plan": Plan, "tier": Tier}
CLOUD_WORDS = ("allow", "deny")
_MOMENTS = {"deadline_seconds": "deadline_at", "not_before_seconds": "not_before_at"}


@dataclass(frozen=True, slots=True)
class Submission(JobTerms):
    """A publisher's job as the fields of wire schema v1.

    `cloud` is "allow", "deny" or the providers that may be used.
    """

    id: str
    task: str
    request: ChatRequest
    lane: Lane = Lane.STANDARD
    plan: Plan = Plan.PAID
    cloud: str | Sequence[str] = "allow"
    traceparent: str | None = None


def submission_of(
    job_id: str,
    task: str,
    request: ChatRequest,
    options: Mapping[str, Any],
    now: float,
    traceparent: str | None = None,
) -> Submission:
    """Return the submission with the fields of `JobOptions` (but `id`), whose seconds count from `now` (unix seconds).

    Raises: InvalidJob naming the field and the rule; TypeError for an option that does not exist.
    """
    if unknown := options.keys() - JobOptions.__annotations__:
        hint = " (a field of the request goes into request=, beside messages)" if unknown & REQUEST_FIELDS else ""
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}{hint}")
    said = dict(options)
    for name, words in _WORDS.items():
        if name in said and (name, said[name]) != ("tier", None):
            said[name] = _word(words, name, said[name])
    if isinstance(cloud := said.get("cloud"), str) and cloud not in CLOUD_WORDS:
        raise InvalidJob("cloud", f"must be {' or '.join(CLOUD_WORDS)}, or a list of providers")
    for name, moment in _MOMENTS.items():
        if name in said:
            said[moment] = _moment_at(name, said.pop(name), now)
    return Submission(job_id, task, request, traceparent=traceparent, **said)


def _word(words: type[StrEnum], field: str, value: Any) -> StrEnum:
    try:
        return words(value)
    except ValueError:
        raise InvalidJob(field, f"must be one of {', '.join(words)}") from None


def _moment_at(field: str, seconds: object, now: float) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, int | float):
        with suppress(OverflowError):  # an integer may be larger than any float
            moment_at = now + seconds
            if math.isfinite(moment_at):
                return moment_at
    raise InvalidJob(field, "must be a finite number")
