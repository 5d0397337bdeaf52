"""The state of a fleet as seen from outside: its streams, its targets, the work waiting for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from deployments.serve.api import Instance, ServeApi
from fleet.app.worker import SystemClock, cloud_targets, provider_keys, rules_of
from fleet.model.errors import FleetError
from fleet.model.scaling import ColdStart, Load, ObservedStart
from fleet.model.target import Target
from fleet.settings.environment import Settings
from policies import money
from policies.rules.providers import key_variable_of
from policies.rules.rules import Rules
from policies.rules.sections import MoneyRules
from policies.scaling.cold_starts import expected
from queues.jetstream.stores.cells import Cells
from queues.jetstream.stores.spend import accounts_of

TIMEOUT_SECONDS = 5.0
"""A dashboard that answers later than this is passed over for what dispatchers last read of Serve."""

SILENT_SECONDS = 15.0
"""Age of the last report at which a dispatcher is called silent: it makes one every second, every 7.5 without news."""

ALIVE_SECONDS = 30.0
"""Age at which a dispatcher is taken for gone, as the other dispatchers take it."""


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target's state and work. `replicas` run and `starting` ones will (None if cloud); `queued` jobs wait or run.

    `state` is Serve's own word, or `cold` or `starting` if no replica of a healthy target runs. `breaker` says until
    when no job is sent there, because calls keep failing: dispatchers know that before Serve does. `cold_start` is how
    long a start from no replica is expected to take; None outside the fleet, and where nobody asked.
    """

    name: str
    provider: str
    state: str
    replicas: int | None
    queued: int
    message: str | None = None
    starting: int | None = None
    breaker: str | None = None
    cold_start: ColdStart | None = None


class DispatcherState(StrEnum):
    """What a dispatcher does, by its last report: `STOPPED` has ended as it should, `SILENT` says nothing any more."""

    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class DispatcherStatus:
    """A dispatcher by its last report, made `age_seconds` ago; what an older version does not report is None.

    `held` is the number of jobs in hand, `targets` of those it serves; `shut` are those it sends no job to, and until
    when (unix seconds). `on_ray` is False for a plain process.
    """

    name: str
    state: DispatcherState
    age_seconds: float
    host: str | None
    pid: int | None
    on_ray: bool | None
    held: int | None
    targets: int | None
    cpu_share: float
    shut: Mapping[str, float]

    @property
    def process(self) -> str:
        """The process in words: its machine, its number there, and whether Ray keeps it."""
        if self.host is None:
            return "of an older version"
        return f"{self.host} pid {self.pid}, {'on Ray' if self.on_ray else 'a process of its own'}"


@dataclass(frozen=True, slots=True)
class SpendStatus:
    """Money spent outside today (UTC); `tenant` None is the whole fleet, `reserved_usd` is for calls under way."""

    tenant: str | None
    spent_usd: float
    reserved_usd: float
    limit_usd: float


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The state of a fleet at `at` (unix seconds, by the broker's clock where it answers).

    `spend` holds the fleet and every tenant that has a limit and spent something today. `replicas_seen` says in words
    how old the numbers of replicas are and who saw them. `ledger_waiting` lines of accounts are in no database yet.
    """

    nats_url: str
    reachable: bool
    streams: Mapping[str, int]
    targets: tuple[TargetStatus, ...]
    spend: tuple[SpendStatus, ...] = ()
    at: float = 0.0
    dispatchers: tuple[DispatcherStatus, ...] = ()
    replicas_seen: str = ""
    ledger_waiting: int | None = None

    @property
    def as_of(self) -> str:
        return clock(self.at)


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """One Serve application: its status word, and the numbers of its replicas that run and start."""

    status: str
    running: int
    message: str | None
    starting: int = 0

    @property
    def state(self) -> str:
        if self.running or self.status != "RUNNING":
            return self.status.lower()
        return "starting" if self.starting else "cold"


async def read_spend(cells: Cells, rules: MoneyRules) -> tuple[SpendStatus, ...]:
    """Return what the fleet spent first, then what the tenants did, by name.

    Raises: QueueUnavailable if the book cannot be read.
    """
    now = SystemClock().now()
    found = await accounts_of(cells, money.day_of(now))
    lines = []
    for tenant, account in found.items():
        limit_usd = rules.daily_usd if tenant is None else money.tenant_limit_usd(tenant, rules)
        if limit_usd is not None:
            gone = money.spent(account, now, rules.open_seconds)
            reserved = account.spent + sum(account.open.values()) - gone
            lines.append(SpendStatus(tenant, money.usd_of(gone), money.usd_of(reserved), limit_usd))
    return tuple(lines)


def target_statuses(
    settings: Settings,
    depths: Mapping[str, int],
    replicas: Mapping[str, ReplicaCounts] | None,
    loads: Sequence[Load] = (),
    now: float = 0.0,
    starts: Mapping[str, Sequence[ObservedStart]] | None = None,
) -> tuple[TargetStatus, ...]:
    """Return the status of every target of the catalogue; `replicas` is None if nobody knows of them.

    `loads` are the dispatchers' reports, `starts` those that were seen of each target (None: nobody asked).
    """
    rules = rules_of(settings)
    breakers = open_breakers(alive(loads, now))
    return tuple(
        replace(
            _cloud_status(target, depths.get(target.name, 0), rules)
            if target.is_cloud
            else _own_status(target, depths.get(target.name, 0), replicas),
            breaker=str(breakers[target.name]) if target.name in breakers else None,
            cold_start=None if starts is None else _cold_start(target, starts.get(target.name, ())),
        )
        for target in rules.catalogue.targets.values()
    )


def _cold_start(target: Target, seen: Sequence[ObservedStart]) -> ColdStart | None:
    return None if target.serving is None else expected(target.serving.cold_seconds, seen)


def _cloud_status(target: Target, queued: int, rules: Rules) -> TargetStatus:
    if provider_keys(rules).has_fleets_key(target.provider):
        return TargetStatus(target.name, target.provider, "ready", None, queued)
    wanted = f"set {key_variable_of(target.provider, rules.catalogue.providers[target.provider])}"
    return TargetStatus(target.name, target.provider, "no key", None, queued, wanted)


def _own_status(target: Target, queued: int, replicas: Mapping[str, ReplicaCounts] | None) -> TargetStatus:
    if replicas is None:
        return TargetStatus(target.name, target.provider, "unknown", None, queued)
    found = replicas.get(target.name)
    if found is None:
        return TargetStatus(target.name, target.provider, "not deployed", 0, queued, starting=0)
    return TargetStatus(target.name, target.provider, found.state, found.running, queued, found.message, found.starting)


def dispatcher_statuses(loads: Sequence[Load], now: float) -> tuple[DispatcherStatus, ...]:
    """Return the dispatchers that reported in the last minute, those of one machine together."""
    found = (_dispatcher(load, max(0.0, now - load.at)) for load in loads)
    return tuple(sorted(found, key=lambda each: (each.host or "", each.pid or 0, each.name)))


def _dispatcher(load: Load, age_seconds: float) -> DispatcherStatus:
    is_older = load.process is None
    return DispatcherStatus(
        load.dispatcher[:8],
        _state(load, age_seconds),
        age_seconds,
        None if load.process is None else load.process.host,
        None if load.process is None else load.process.pid,
        None if is_older else load.replicas_at is not None,
        None if is_older else load.held,
        None if load.serves is None else len(load.serves),
        load.cpu_share,
        dict(load.shut),
    )


def _state(load: Load, age_seconds: float) -> DispatcherState:
    if load.serves == frozenset() and not load.held:
        return DispatcherState.STOPPED
    if age_seconds > SILENT_SECONDS:
        return DispatcherState.SILENT
    return DispatcherState.DRAINING if load.serves == frozenset() else DispatcherState.SERVING


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """The dispatchers that hold a target shut, of those that serve it, and until when the last does (unix seconds)."""

    shut: int
    serving: int
    until: float

    def __str__(self) -> str:
        whom = "" if self.shut == self.serving else f" at {self.shut} of {self.serving} dispatchers"
        return f"until {clock(self.until)}{whom}" if self.until else f"one call is trying it{whom}"


def clock(at: float) -> str:
    """Return the time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def open_breakers(loads: Sequence[Load]) -> Mapping[str, OpenBreaker]:
    """Return the targets that some dispatcher holds shut."""
    shut = {name for load in loads for name in load.shut}
    serving = {name: sum(name in (load.serves or ()) for load in loads) for name in shut}
    return {
        name: OpenBreaker(
            sum(name in load.shut for load in loads), serving[name], max(load.shut.get(name, 0.0) for load in loads)
        )
        for name in shut
    }


def alive(loads: Sequence[Load], now: float) -> list[Load]:
    """Return the last reports of the dispatchers that are at work."""
    return [load for load in loads if now - load.at <= ALIVE_SECONDS and load.serves != frozenset()]


def read_serve(dashboard_url: str) -> Instance | str:
    """Return what Serve runs, or a sentence that says why the dashboard does not tell."""
    try:
        return ServeApi(dashboard_url, TIMEOUT_SECONDS).read()
    except FleetError as error:
        return str(error)


def replicas_reported(loads: Sequence[Load], now: float) -> tuple[Mapping[str, ReplicaCounts], str] | None:
    """Return the replicas as a dispatcher last read them of Serve, and in words which one and how long ago.

    None where no dispatcher that is at work runs on Ray.
    """
    at, load = max(
        ((each.replicas_at, each) for each in alive(loads, now) if each.replicas_at is not None),
        key=lambda pair: pair[0],
        default=(0.0, None),
    )
    if load is None:
        return None
    found = {name: ReplicaCounts("RUNNING", each.running, None, each.starting) for name, each in load.replicas.items()}
    return found, f"as dispatcher {load.dispatcher[:8]} saw them {max(0.0, now - at):.0f} s ago"


def replicas_in(instance: Instance) -> Mapping[str, ReplicaCounts]:
    """Return the Serve applications by name."""
    return {name: _replicas(found) for name, found in instance.details["applications"].items()}


def _replicas(application: Mapping[str, Any]) -> ReplicaCounts:
    states = [replica["state"] for each in application["deployments"].values() for replica in each["replicas"]]
    message = application["message"] or None
    return ReplicaCounts(application["status"], states.count("RUNNING"), message, states.count("STARTING"))


def has_cloud_key(rules: Rules) -> bool:
    """Return whether the fleet can call any cloud target of the catalogue on its own account."""
    keys = provider_keys(rules)
    return any(keys.has_fleets_key(target.provider) for target in cloud_targets(rules))
