"""Provider keys, resolved at the last moment and never kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from fleet.model.errors import FleetError
from fleet.model.target import Auth, Provider
from policies.rules.providers import BUILT_IN, key_variable_of, letters_of

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

        The fleet's own key is empty where the provider asks for none.

        Raises: KeyUnavailable if there is no such key.
        """


class EnvironmentKeyRing:
    """Keys from environment variables: the fleet's own as each provider's entry names it, and a tenant's as
    `FLEET_KEY_<provider>_<reference>`.

    The prefix keeps a tenant's reference from naming any other variable.
    """

    def __init__(self, environ: Mapping[str, str], providers: Mapping[str, Provider] = BUILT_IN) -> None:
        self._environ = environ
        self._providers = providers

    def has_fleets_key(self, provider: str) -> bool:
        """Return whether the fleet can call the provider on its own account, as far as it can be known here."""
        try:
            self.resolve(provider, None)
        except KeyUnavailable:
            return False
        return True

    def has_tenants_keys(self, provider: str) -> bool:
        """Return whether any tenant has brought a key for the provider."""
        prefix = _tenants_prefix(provider)
        return self._takes_keys(provider) and any(name.startswith(prefix) for name in self._environ)

    def resolve(self, provider: str, reference: str | None) -> str:
        if not self._takes_keys(provider):
            if reference is not None:
                raise KeyUnavailable(provider)
            return ""
        if reference is None:
            name = key_variable_of(provider, self._providers.get(provider, Provider()))
        elif REFERENCE.fullmatch(reference):
            name = f"{_tenants_prefix(provider)}{reference}"
        else:
            raise KeyUnavailable(provider)
        key = self._environ.get(name, "").strip()
        if not KEY.fullmatch(key):
            raise KeyUnavailable(provider)
        return key

    def _takes_keys(self, provider: str) -> bool:
        return self._providers.get(provider, Provider()).auth is Auth.KEY


def _tenants_prefix(provider: str) -> str:
    return f"FLEET_KEY_{letters_of(provider)}_"
