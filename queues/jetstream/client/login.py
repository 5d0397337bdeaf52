"""A connection's login on NATS, and the servers it trusts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fleet.model.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password, a NATS .creds file, or the seed of an NKey; nothing if the servers ask for none.

    `ca_path` is the authority that signed the servers' certificates, in PEM; None leaves it to the system's.
    `inbox_prefix` is the subject prefix of replies; None means `_INBOX_<user>` if there is a user, so that users of one
    account who may listen to no other inbox cannot read each other's replies, and otherwise NATS' own `_INBOX`.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    creds_path: Path | None = None
    nkey_seed: str | None = field(default=None, repr=False)
    ca_path: Path | None = None
    inbox_prefix: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of `nats.connect`.

        Raises: ConfigError if a file or a package is missing.
        """
        if (self.creds_path or self.nkey_seed) and find_spec("nkeys") is None:
            raise ConfigError("nats_creds_path", "and nats_nkey_seed need a package: pip install 'nats-py[nkeys]'")
        wanted = {
            "user": self.user,
            "password": self.password,
            "user_credentials": None if self.creds_path is None else str(self.creds_path),
            "nkeys_seed_str": self.nkey_seed,
            "tls": None if self.ca_path is None else _trusting(self.ca_path),
            "inbox_prefix": self.inbox_prefix or (inbox_of(self.user) if self.user else None),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def secret(self) -> bytes:
        """Return what only holders of this login know; empty if the servers ask for none.

        Raises: ConfigError if the file cannot be read.
        """
        if self.creds_path is None:
            return (self.password or self.nkey_seed or "").encode()
        try:
            return self.creds_path.read_bytes()
        except OSError as error:
            raise ConfigError("nats_creds_path", f"{self.creds_path} cannot be read: {error.strerror}") from None


Login = Credentials
"""The name used inside the fleet, where a `login` is an action of a process."""

ANONYMOUS = Credentials()


def inbox_of(user: str) -> str:
    """Return the subject prefix of a user's replies."""
    return f"_INBOX_{user}"


def _trusting(ca_path: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_path))
    except OSError as error:  # SSLError is one
        raise ConfigError("nats_ca_path", f"{ca_path} must be certificates in PEM: {error.strerror or error}") from None
