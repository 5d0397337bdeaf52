"""Opens a door only to keys that are for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fleet.gateway.caller import WhoCalls
from fleet.gateway.errors import ApiError
from fleet.model.api_key import Scope


def opened_by(scope: Scope) -> Callable[..., Awaitable[None]]:
    """Return a dependency of a door: it raises ApiError, 403, for a key that is not for `scope`."""

    async def checked(who: WhoCalls) -> None:
        if scope not in who.scopes:
            message = f"This API key is not for {scope}: give it the scope, or use another key."
            raise ApiError(403, message, code="insufficient_permissions")

    return checked
