"""Encrypts contents: AES-256-GCM, with a key for each tenant that is made of the operator's and of a salt of its own.

Whoever destroys a tenant's salt has destroyed its key, and with it whatever copies of its contents there are.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.model.content import Content
from fleet.model.errors import FleetError
from fleet.operator_keys import KEY_BYTES, key_from
from queues.wire.content import decode_content, encode_content

KEY_VARIABLE = "FLEET_CONTENT_KEY"
SALT_BYTES = 32
NONCE_BYTES = 12

_PURPOSE = b"fleet content of a tenant"


class Undecipherable(FleetError):
    """A content was encrypted with another key, or is not what was encrypted."""


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


class Vault:
    """Encrypts and decrypts with the operator's key; `repr` shows nothing of it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Vault:
        """Return the vault of the operator's key. Raises: ConfigError, which never quotes it."""
        return cls(key_from(KEY_VARIABLE, environment))

    def sealed(self, content: Content, salt: bytes) -> bytes:
        """Return the content encrypted for its tenant, whose salt this is."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher(salt).encrypt(
            nonce, encode_content(content), _names(content.tenant, content.job_id)
        )

    def opened(self, sealed: bytes, tenant: str, job_id: str, salt: bytes) -> Content:
        """Return the content of this tenant's job. Raises: Undecipherable."""
        nonce, data = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return decode_content(self._cipher(salt).decrypt(nonce, data, _names(tenant, job_id)))
        except (InvalidTag, ValueError):
            raise Undecipherable(f"the content of {job_id} cannot be read with this {KEY_VARIABLE}") from None

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=_PURPOSE).derive(self._key))


def _names(tenant: str, job_id: str) -> bytes:
    """Return what a content is bound to: put under another name, it does not open."""
    return json.dumps([tenant, job_id]).encode()
