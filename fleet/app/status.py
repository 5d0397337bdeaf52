"""The state of a fleet as seen from outside: its streams, its targets, the work waiting for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.serve.api import Instance, ServeApi
from fleet.app.worker import SystemClock, cloud_targets, provider_keys, rules_of
from fleet.model.errors import FleetError
from fleet.model.target import Target
from fleet.settings.environment import Settings
from policies import money
from policies.rules.providers import key_variable_of
from policies.rules.rules import Rules
from policies.rules.sections import MoneyRules
from queues.jetstream.stores.cells import Cells
from queues.jetstream.stores.spend import accounts_of

TIMEOUT_SECONDS = 3.0
"""A dashboard that answers later than this is shown as not answering."""


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target's state and work. `replicas` run and `starting` ones will (None if cloud); `queued` jobs wait or run.

    `state` is Serve's own word, or `cold` or `starting` if no replica of a healthy target runs.
    """

    name: str
    provider: str
    state: str
    replicas: int | None
    queued: int
    message: str | None = None
    starting: int | None = None


@dataclass(frozen=True, slots=True)
class SpendStatus:
    """Money spent outside today (UTC); `tenant` None is the whole fleet, `reserved_usd` is for calls under way."""

    tenant: str | None
    spent_usd: float
    reserved_usd: float
    limit_usd: float


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The state of a fleet; `spend` holds the fleet and every tenant that has a limit and spent something today."""

    nats_url: str
    reachable: bool
    streams: Mapping[str, int]
    targets: tuple[TargetStatus, ...]
    spend: tuple[SpendStatus, ...] = ()


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
    settings: Settings, depths: Mapping[str, int], replicas: Mapping[str, ReplicaCounts] | None
) -> tuple[TargetStatus, ...]:
    """Return the status of every target of the catalogue; `replicas` is None if the Ray dashboard does not answer."""
    rules = rules_of(settings)
    return tuple(
        _cloud_status(target, depths.get(target.name, 0), rules)
        if target.is_cloud
        else _own_status(target, depths.get(target.name, 0), replicas)
        for target in rules.catalogue.targets.values()
    )


def _cloud_status(target: Target, queued: int, rules: Rules) -> TargetStatus:
    if provider_keys(rules).has_fleets_key(target.provider):
        return TargetStatus(target.name, target.provider, "ready", None, queued)
    wanted = f"set {key_variable_of(target.provider, rules.catalogue.providers[target.provider])}"
    return TargetStatus(target.name, target.provider, "no key", None, queued, wanted)


def _own_status(target: Target, queued: int, replicas: Mapping[str, ReplicaCounts] | None) -> TargetStatus:
    if replicas is None:
        return TargetStatus(target.name, target.provider, "unknown", None, queued, "the Ray dashboard does not answer")
    found = replicas.get(target.name)
    if found is None:
        return TargetStatus(target.name, target.provider, "not deployed", 0, queued, starting=0)
    return TargetStatus(target.name, target.provider, found.state, found.running, queued, found.message, found.starting)


def read_serve(dashboard_url: str) -> Instance | None:
    """Return what Serve runs, or None if the dashboard does not answer."""
    try:
        return ServeApi(dashboard_url, TIMEOUT_SECONDS).read()
    except FleetError:
        return None


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
