"""Which adapter answers a job, if any: the choice among those that are registered."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.model.adapter import AdapterIndex, AdapterScope, Alias, RegisteredAdapter
from fleet.model.target import Target


def indexed(adapters: Iterable[RegisteredAdapter]) -> AdapterIndex:
    """Return the adapters by what they are for: a job's is found in two look-ups at most."""
    scopes: dict[tuple[str, str, str | None], AdapterScope] = {}
    named: set[str] = set()
    for adapter in adapters:
        scope = AdapterScope(adapter.aliases.get(Alias.STABLE), frozenset(adapter.aliases.values()))
        tenants: Iterable[str | None] = (None,) if adapter.tenants is None else adapter.tenants
        scopes |= {(adapter.target, task, tenant): scope for task in adapter.tasks for tenant in tenants}
        named |= scope.named
    return AdapterIndex(scopes, frozenset(named))


def digest_for(target: Target, tenant: str, task: str, index: AdapterIndex, on_trial: str | None = None) -> str | None:
    """Return the digest that answers the tenant's jobs of the task on the target; None: the base does.

    That is the stable version of the adapter for such jobs, or `on_trial`, what the job's arm names, if an alias of
    that adapter names it too: no arm gives a job an adapter that was registered for other jobs, and a version that was
    rolled back or withdrawn answers in no arm either.
    """
    if target.adapters is None or not index.scopes:
        return None
    scopes = index.scopes
    scope = scopes.get((target.name, task, tenant)) or scopes.get((target.name, task, None))
    if scope is None:
        return None
    return on_trial if on_trial in scope.named else scope.stable
