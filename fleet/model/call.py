"""A call: one request on its way to a backend."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.job import ChatRequest
from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class Call:
    """A request for a backend. `own_key` names the tenant's secret for the provider, if any; it never is the secret.

    The call can be stopped by its `id`.
    """

    request: ChatRequest
    timeout_seconds: float
    own_key: str | None = None
    traceparent: str | None = None
    id: str = ""
