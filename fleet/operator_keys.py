"""Reads keys of the operator, 32 random bytes each, from the environment."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from fleet.model.errors import ConfigError

KEY_BYTES = 32

_FORM = f"must be {KEY_BYTES} random bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints them"


def key_from(variable: str, environment: Mapping[str, str]) -> bytes:
    """Return the key that a variable holds. Raises: ConfigError, which never quotes it."""
    said = environment.get(variable, "").strip()
    if not said:
        raise ConfigError(variable, f"is not set: {_FORM}")
    try:
        key = base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(variable, f"is malformed: {_FORM}, and is no base64") from None
    if len(key) != KEY_BYTES:
        raise ConfigError(variable, f"is malformed: {_FORM}, and holds {len(key)} bytes")
    return key
