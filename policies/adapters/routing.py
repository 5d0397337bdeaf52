"""Which adapter answers a job, if any: the choice among those that are registered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.model.adapter import Alias, RegisteredAdapter


@dataclass(frozen=True, slots=True)
class _Scope:
    """What may answer where an adapter is for: its stable version, and for jobs on trial any that an alias names."""

    stable: str | None
    named: frozenset[str]


class AdapterRoutes:
    """The registered adapters, by what they are for: a job's is found in two look-ups at most."""

    def __init__(self, adapters: Iterable[RegisteredAdapter] = ()) -> None:
        self._scopes: dict[tuple[str, str, str | None], _Scope] = {}
        named: set[str] = set()
        for adapter in adapters:
            scope = _Scope(adapter.aliases.get(Alias.STABLE), frozenset(adapter.aliases.values()))
            tenants: Iterable[str | None] = (None,) if adapter.tenants is None else adapter.tenants
            self._scopes |= {(adapter.target, task, tenant): scope for task in adapter.tasks for tenant in tenants}
            named |= scope.named
        self.named = frozenset(named)
        """The digests that an alias names: stable, on trial, or stable before. No other may be relied on any more."""

    def digest(self, target: str, tenant: str, task: str, on_trial: str | None = None) -> str | None:
        """Return the digest that answers the tenant's jobs of the task on the target; None: the base does.

        That is the stable version of the adapter for such jobs, or `on_trial`, what the job's arm names, if an alias of
        that adapter names it too: no arm gives a job an adapter that was registered for other jobs, and a version that
        was rolled back or withdrawn answers in no arm either.
        """
        scope = self._scopes.get((target, task, tenant)) or self._scopes.get((target, task, None))
        if scope is None:
            return None
        return on_trial if on_trial in scope.named else scope.stable
