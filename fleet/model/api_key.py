"""API keys: what a caller of the gateway shows, and all that says for which tenant it speaks."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

API_KEY = re.compile(r"sk-fleet-([0-9a-f]{16})-[A-Za-z0-9_-]{43}")
"""Pattern of a key's text: the id under which it is known, and 256 random bits that nobody stores.

It begins like a provider's key, so that logs blank it and scanners of source code find it.
"""

MAX_NAME_CHARACTERS = 64


class Scope(StrEnum):
    """The doors of the gateway that a key opens; jobs are chat and responses. Every key may ask for the models."""

    JOBS = "jobs"
    FILES = "files"
    BATCHES = "batches"
    WEBHOOKS = "webhooks"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: of its text only `digest`, the SHA-256 in hexadecimal digits. Times are unix seconds."""

    id: str
    tenant: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Return whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_text(self, text: str) -> bool:
        """Return whether this is the key's text, in the same time whatever is said."""
        return hmac.compare_digest(digest_of(text), self.digest)


def digest_of(text: str) -> str:
    """Return what is stored of a key's text. Its 256 random bits need no slow hash: nobody can try them all."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def key_id_in(text: str) -> str | None:
    """Return the id in a key's text, or None if this is no key."""
    found = API_KEY.fullmatch(text)
    return None if found is None else found[1]


def issue(
    key_id: str, secret: str, tenant: str, name: str, scopes: Collection[Scope], now: float, expires_at: float | None
) -> tuple[ApiKey, str]:
    """Return a new key as it is stored, and its text. `secret` is 32 random bytes in URL-safe base64."""
    text = f"sk-fleet-{key_id}-{secret}"
    assert key_id_in(text) == key_id, "the id and the secret have their forms"
    return ApiKey(key_id, tenant, name, digest_of(text), frozenset(scopes), now, expires_at), text
