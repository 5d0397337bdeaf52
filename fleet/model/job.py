"""A job: one OpenAI chat request and the conditions for answering it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypedDict

from fleet.model.unguarded import unguarded

ChatRequest = Mapping[str, Any]
"""The body of an OpenAI chat completion request, unchanged; validated where it came in."""

REQUEST_FIELDS: Final = frozenset(
    [
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    ]
)
"""Fields of a request that are no fields of a job, and are easily put beside the request."""

JOB_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""Pattern of a job's id: one subject token, long enough that nobody meets another's id by accident."""

TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")

PERSON = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Pattern of the id of the person whom a job's content is about: opaque, so that no mail address fits."""


class Lane(StrEnum):
    """The queue a job waits in; the order here is the order of service."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BULK = "bulk"

    __hash__ = str.__hash__  # Enum's own is written in Python, and lanes are parts of many keys


FAIR_LANES = tuple(Lane)
"""Lanes in which tenants take turns: every lane, for it is the publisher who chooses it."""


class Tier(StrEnum):
    """The strength of model that a job needs."""

    SIMPLE = "simple"
    MEDIUM = "medium"
    COMPLEX = "complex"


class Plan(StrEnum):
    """The tenant's plan: what it pays for."""

    FREE = "free"
    PAID = "paid"
    OWN_KEY = "own_key"


@dataclass(frozen=True, slots=True)
class Cloud:
    """The providers outside the fleet that a job may reach: `None` any, the empty set none."""

    providers: frozenset[str] | None = None

    def permits(self, provider: str) -> bool:
        return self.providers is None or provider in self.providers


CLOUD_ALLOW = Cloud(None)
CLOUD_DENY = Cloud(frozenset())


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerms:
    """The terms for answering a job: its publisher states them, and every dispatcher knows them.

    `deadline_at` is when its answer loses its worth and `not_before_at` when it may run first, both in unix seconds;
    without a deadline the lane's default applies. `own_key` names a secret; it never is one. `above` is a target whose
    answer was not good enough: only stronger ones may run the job. `regions` are the only ones where its content may
    be processed (None: any). `person` is an opaque id of whom its content is about: it goes into the ledger, so that
    what is stored of the person can be erased, and into no trace, metric or log.
    """

    tier: Tier | None = None
    deadline_at: float | None = None
    max_cost_usd: float | None = None
    own_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    above: str | None = None
    not_before_at: float | None = None
    regions: tuple[str, ...] | None = None
    person: str | None = None


class JobOptions(TypedDict, total=False):
    """Options for answering a job. `cloud` is "allow", "deny" or the providers that may be used.

    `deadline_seconds` and `not_before_seconds` (when it may run first) count from now; `own_key` names the tenant's
    secret and never is one. `id` makes a repeated submission harmless; without it each one is a new job. `above` is a
    target whose answer was not good enough: only stronger ones run the job. `regions` are the only ones where its
    content may be processed. `person` is an opaque id of whom its content is about, for erasure.
    """

    id: str | None
    lane: Lane | str
    plan: Plan | str
    tier: Tier | str | None
    deadline_seconds: float | None
    not_before_seconds: float | None
    max_cost_usd: float | None
    cloud: str | Sequence[str]
    own_key: str | None
    metadata: Mapping[str, str]
    above: str | None
    regions: Sequence[str] | None
    person: str | None


@unguarded
@dataclass(frozen=True, slots=True)
class JobRef:
    """A reference to a job, with its tenant and lane. An id names one job only together with its tenant."""

    tenant: str
    id: str
    lane: Lane


@unguarded
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Job(JobTerms):
    """An accepted request. `tenant` and `lane` come from the subject, never from the body.

    `submitted_at` is when the broker stored it, in unix seconds.
    """

    id: str
    tenant: str
    lane: Lane
    task: str
    plan: Plan
    request: ChatRequest
    submitted_at: float
    cloud: Cloud = CLOUD_ALLOW

    @property
    def ref(self) -> JobRef:
        return JobRef(self.tenant, self.id, self.lane)
