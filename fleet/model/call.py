"""A call: one request on its way to a backend."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.job import ChatRequest


@dataclass(frozen=True, slots=True)
class Call:
    """`own_key` names the tenant's secret for this provider, if it brought one; it never is the secret.

    `id` is what the call can be stopped by.
    """

    request: ChatRequest
    timeout_seconds: float
    own_key: str | None = None
    traceparent: str | None = None
    id: str = ""
