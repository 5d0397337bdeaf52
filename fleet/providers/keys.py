"""Where keys come from: resolved at the last moment, held by nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from fleet.model.errors import FleetError

KEY = re.compile(r"[!-~]+")
"""What a header can hold: visible ASCII."""

REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,128}")


class KeyUnavailable(FleetError):
    """There is no such key. The message names the provider only: a tenant may put a key where its name belongs."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"no usable key for {provider}")


class KeyRing(Protocol):
    """Turns the name of a key into the key."""

    def resolve(self, provider: str, reference: str | None) -> str:
        """The tenant's key named `reference`, or the fleet's own where it is None. Raises `KeyUnavailable`."""


class EnvironmentKeyRing:
    """Keys from environment variables: `<PROVIDER>_API_KEY`, and a tenant's as `FLEET_KEY_<PROVIDER>_<reference>`.

    The prefix keeps a tenant's reference from naming any other variable.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def has_tenants_keys(self, provider: str) -> bool:
        """Whether any tenant has brought a key for the provider."""
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
