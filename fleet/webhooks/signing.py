"""Signs webhooks by Standard Webhooks 1.0 (v1: HMAC-SHA-256), with secrets that are stored nowhere.

A secret is made of the operator's key and of a salt that lies with its endpoint, so that whoever reads the broker's
files finds none, and whoever holds the key can make it again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence

from fleet.model.webhook import WebhookEndpoint
from fleet.operator_keys import key_from

KEY_VARIABLE = "FLEET_WEBHOOK_KEY"

PREFIX = "whsec_"
HINT_CHARACTERS = 4


class Signer:
    """Makes the secrets of endpoints with the operator's key; `repr` shows nothing of it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Signer:
        """Return the signer with the operator's key. Raises: ConfigError, which never quotes it."""
        return cls(key_from(KEY_VARIABLE, environment))

    def secret(self, endpoint: WebhookEndpoint, salt: str) -> str:
        """Return a secret as receivers hold it. The tenant and the endpoint are in it: no salt serves another."""
        names = "\n".join((endpoint.tenant, endpoint.id, salt))
        return PREFIX + base64.b64encode(hmac.digest(self._key, names.encode(), hashlib.sha256)).decode()

    def secrets(self, endpoint: WebhookEndpoint, now: float) -> Sequence[str]:
        """Return the secrets that sign at `now`: two for a while after a rotation, the latest first."""
        return [self.secret(endpoint, salt) for salt in endpoint.salts(now)]

    def hint(self, endpoint: WebhookEndpoint) -> str:
        """Return what may be shown of the secret in force."""
        return f"{PREFIX}…{self.secret(endpoint, endpoint.salt)[-HINT_CHARACTERS:]}"


def signed_headers(event_id: str, body: bytes, secrets: Sequence[str], now: float) -> dict[str, str]:
    """Return the headers of an attempt at `now`; the signatures are of exactly these bytes and this second."""
    second = str(int(now))
    signatures = " ".join(f"v1,{_signature(secret, event_id, second, body)}" for secret in secrets)
    return {"webhook-id": event_id, "webhook-timestamp": second, "webhook-signature": signatures}


def _signature(secret: str, event_id: str, second: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b".".join((event_id.encode(), second.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
