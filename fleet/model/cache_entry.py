"""A cache entry: an answer that may be given again to the same request of the same tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.model.attempt import Usage
from fleet.model.unguarded import unguarded

CacheKey = tuple[str, str]
"""A tenant, and the key of its request: 64 hex digits."""

UNTOLD: Final[CacheKey] = ("-", "untold")
"""Dropped like a key where answers were purged: all answers that only one dispatcher knows go as well."""


@unguarded
@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The answer of job `job_id` by `target`, kept from `answered_at` to `expires_at` (unix seconds) under `key`.

    `calibration` is the version that accepted it, None for an answer that none was asked about: with the promise, the
    entry goes. `usage` is what the answer took. `question` is the text that was asked and `scope` the key of all else
    that goes for it, where the semantic cache may find it: only questions of one scope are compared. `adapter` is the
    digest of the one that answered: with it, the entry goes.
    """

    tenant: str
    key: str
    job_id: str
    task: str
    target: str
    answered_at: float
    expires_at: float
    message: Mapping[str, Any]
    finish_reason: str
    model: str
    usage: Usage
    calibration: str | None = None
    question: str | None = None
    scope: str | None = None
    adapter: str | None = None
