"""Provider keys, resolved at the last moment and never kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from fleet.model.errors import FleetError

KEY = re.compile(r"[!-~]+")
"""The characters a header can hold: visible ASCII."""

REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,128}")


class KeyUnavailable(FleetError):
    """Raised if a key is missing. The message names only the provider: tenants may put a key where its name belongs."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"no usable key for {provider}")


class KeyRing(Protocol):
    """Maps the name of a key to the key."""

    def resolve(self, provider: str, reference: str | None) -> str:
        """Return the tenant's key named `reference`, or the fleet's own key if it is None.

        Raises: KeyUnavailable if there is no such key.
        """


class EnvironmentKeyRing:
    """Keys from environment variables: `<PROVIDER>_API_KEY`, and a tenant's as `FLEET_KEY_<PROVIDER>_<reference>`.

    The prefix keeps a tenant's reference from naming any other variable.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def has_tenants_keys(self, provider: str) -> bool:
        """Return whether any tenant has brought a key for the provider."""
        prefix = f"FLEET_KEY_{provider.upper().replace('-', '_')}_"
        return any(name.startswith(prefix) for name in self._environ)

    def resolve(self, provider: str, reference: str | None) -> str:
        prefix = provider.upper().replace("-", "_")
        if reference is None:
            name = f"{prefix}_API_KEY"
        elif REFERENCE.fullmatch(reference):
            name = f"FLEET_KEY_{prefix}_{reference}"
        else:
            raise KeyUnavailable(provider)
        key = self._environ.get(name, "").strip()
        if not KEY.fullmatch(key):
            raise KeyUnavailable(provider)
        return key
