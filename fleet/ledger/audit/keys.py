"""The private key that signs checkpoints: an Ed25519 key as `openssl genpkey` writes it, in a file of its own."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fleet.ledger.audit.log import Signing
from fleet.model.errors import ConfigError
from fleet.receipts.notes import KEY_NAME

KEY_VARIABLE = "FLEET_LEDGER_KEY_FILE"
NAME_VARIABLE = "FLEET_LEDGER_NAME"


def signing_with(path: Path | None, name: str) -> Signing | None:
    """Return what signs the checkpoints of the log `name`; None without a file.

    Raises: ConfigError if the file holds no such key, cannot be read, or anybody may read it.
    """
    if not KEY_NAME.fullmatch(name):
        raise ConfigError(NAME_VARIABLE, "must hold no blank and no plus sign; an address without https:// is best")
    if path is None:
        return None
    try:
        mode, data = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise ConfigError(KEY_VARIABLE, f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if mode & stat.S_IRWXO:
        raise ConfigError(KEY_VARIABLE, f"{path} may be read by anybody on this machine: chmod 600 it")
    if not data.strip():
        raise ConfigError(KEY_VARIABLE, f"{path} is empty: openssl genpkey -algorithm ed25519 makes a key")
    return Signing(name, _private_key(path, data))


def _private_key(path: Path, data: bytes) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(data, password=None)
    except TypeError:
        raise ConfigError(KEY_VARIABLE, f"{path} must be without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(KEY_VARIABLE, f"{path} holds no Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
    return private
