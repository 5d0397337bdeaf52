"""A view: the state of the fleet at the moment of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.model.adapter import NO_ADAPTERS, AdapterIndex
from fleet.model.batched import Observed
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import CacheCalibration, Near
from fleet.model.job import Lane
from fleet.model.money import MoneyView
from fleet.model.router import Router, RouterKey
from fleet.model.scaling import Capacity
from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class Breaker:
    """A target's recent failures. Open while `now < open_until_at`; afterwards one call decides, the probe.

    `probing` says that the probe is on its way: until its outcome is known, no other call is let through.
    """

    failures: int = 0
    trips: int = 0
    open_until_at: float = 0.0
    probing: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Sojourn:
    """The time that jobs of one lane recently took on a target, from hand-over to answer: an exponential mean.

    `answers` is the number of answers in it; the last was seen at `seen_at`, unix seconds. `run_seconds` is the part
    of the time after their calls were made, `found` the number of the lane's jobs stored for the target when they were
    handed over (both means), `waiting` that number now. `turns_away` says that the last job decided on went elsewhere
    because the target is overloaded.
    """

    seconds: float
    answers: int
    seen_at: float
    run_seconds: float = 0.0
    found: float = 0.0
    waiting: int = 0
    turns_away: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class TargetView:
    """A target now. `available` is False where it is not configured (no key, no deployment).

    `own_key_only`: the fleet has no key for it; it serves tenants who brought their own. `capacity` is known of
    self-hosted targets on Ray, None elsewhere.
    `account_fault`: the breaker is open because of the fleet's account there, which has no credit or no such model; a
    tenant's own key passes by `own_key_breaker` (None: the same as `breaker`).
    """

    available: bool = True
    queued: int = 0
    in_flight: int = 0
    breaker: Breaker = Breaker()
    own_key_only: bool = False
    sojourns: Mapping[Lane, Sojourn] = field(default_factory=dict)
    capacity: Capacity | None = None
    account_fault: bool = False
    own_key_breaker: Breaker | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class View:
    """`entries` is what the cache holds, by tenant and key.

    `near` is what it has nearest to the questions of jobs, by tenant and job, and `promises` what is promised of such
    answers, by tenant and task. `batches` is what was seen of providers' batches, by target. `adapters` are those
    registered.
    """

    targets: Mapping[str, TargetView] = field(default_factory=dict)
    routers: Mapping[RouterKey, Router] = field(default_factory=dict)
    money: MoneyView = field(default_factory=MoneyView)
    entries: Mapping[tuple[str, str], CacheEntry] = field(default_factory=dict)
    near: Mapping[tuple[str, str], Near] = field(default_factory=dict)
    promises: Mapping[tuple[str, str], CacheCalibration] = field(default_factory=dict)
    batches: Mapping[str, tuple[Observed, ...]] = field(default_factory=dict)
    adapters: AdapterIndex = NO_ADAPTERS
