"""Finds out whose request it is: by its API key alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet.gateway.errors import ApiError
from fleet.model.api_key import Scope
from fleet.web import LOOPBACK

DEVELOPMENT = "development"
"""The id of the key that nobody needs where there are no keys."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: a tenant, known by one of its keys, which opens the doors in `scopes` only."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]


class Keys(Protocol):
    """The API keys in force."""

    async def find(self, secret: str) -> Caller | None:
        """Return who the key belongs to; None for one that is unknown, expired or revoked."""


_bearer = HTTPBearer(auto_error=False, description="An API key of a tenant.")


async def caller(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Caller:
    """Return who sends the request. Raises: ApiError, 401 without a key in force."""
    doors = request.app.state.doors
    if doors.keys is None:
        return _developer(request, doors.development_tenant)
    found: Caller | None = None if given is None else await doors.keys.find(given.credentials)
    if found is None:
        message = "Send an API key that is in force: Authorization: Bearer <key>."
        raise ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
    return found


WhoCalls = Annotated[Caller, Depends(caller)]


def _developer(request: Request, tenant: str) -> Caller:
    """Let everybody in who knows the gateway by a name of this machine.

    A web page can make a name of its own lead here, and a browser would then send it what its scripts ask for.
    """
    if request.url.hostname not in LOOPBACK:
        raise ApiError(403, "Without keys the gateway answers to 127.0.0.1 and localhost alone.", code="wrong_host")
    return Caller(tenant, DEVELOPMENT, frozenset(Scope))


async def check(request: Request) -> None:
    """Look again whether the caller of a request under way is still admitted. Raises: ApiError, 401, if not."""
    await caller(request, await _bearer(request))
