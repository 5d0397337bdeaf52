"""A call: one request on its way to a backend."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.job import ChatRequest, Lane
from fleet.model.unguarded import unguarded

PRIORITY = {Lane.INTERACTIVE: 0, Lane.STANDARD: 1, Lane.BULK: 2}
"""The priority of each lane at an engine, by vLLM's rule: the lowest first."""


@unguarded
@dataclass(frozen=True, slots=True)
class Call:
    """A request for a backend. `own_key` names the tenant's secret for the provider, if any; it never is the secret.

    The call can be stopped by its `id`. `lane` is its job's: a model that has to choose runs interactive calls first.
    `cache_salt` keeps the prompt apart from those of other tenants in the cache of an engine of the fleet's own.
    `cache_scope` says whose prompts are taken together where the call may be marked for a provider's cache; None: it
    may not. `adapter` is the digest of what the model answers with, beside its own weights.
    """

    request: ChatRequest
    timeout_seconds: float
    own_key: str | None = None
    id: str = ""
    lane: Lane = Lane.STANDARD
    cache_salt: str | None = None
    cache_scope: str | None = None
    adapter: str | None = None

    @property
    def priority(self) -> int:
        return PRIORITY[self.lane]
