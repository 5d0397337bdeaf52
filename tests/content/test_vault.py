"""A content opens with its operator's key and its tenant's salt, under its own name, and not otherwise."""

from __future__ import annotations

import base64

import pytest

from fleet.content.vault import Undecipherable, Vault
from fleet.model.content import Content
from fleet.operator_keys import KEY_BYTES

PROMPT = "What does clause 7 of Anna's contract say?"
REQUEST = {"messages": [{"role": "user", "content": PROMPT}]}
CONTENT = Content("job-0123456789ab", "acme", "contract.review", 5.0, REQUEST, {"role": "assistant", "content": "No."})
KEY, SALT = bytes(range(KEY_BYTES)), bytes(range(32, 64))


def test_a_content_comes_back_as_it_was() -> None:
    sealed = Vault(KEY).sealed(CONTENT, SALT)
    assert Vault(KEY).opened(sealed, "acme", CONTENT.job_id, SALT) == CONTENT


def test_nothing_of_it_shows_while_it_is_encrypted() -> None:
    sealed = Vault(KEY).sealed(CONTENT, SALT)
    assert not any(word.encode() in sealed for word in (PROMPT, "acme", CONTENT.job_id, "messages"))


def test_the_same_content_never_looks_the_same() -> None:
    assert Vault(KEY).sealed(CONTENT, SALT) != Vault(KEY).sealed(CONTENT, SALT)


@pytest.mark.parametrize(
    ("key", "tenant", "job_id", "salt"),
    [
        (bytes(KEY_BYTES), "acme", CONTENT.job_id, SALT),
        (KEY, "globex", CONTENT.job_id, SALT),
        (KEY, "acme", "job-0123456789ac", SALT),
        (KEY, "acme", CONTENT.job_id, bytes(32)),
    ],
)
def test_another_key_tenant_job_or_salt_opens_nothing(key: bytes, tenant: str, job_id: str, salt: bytes) -> None:
    sealed = Vault(KEY).sealed(CONTENT, SALT)
    with pytest.raises(Undecipherable, match="cannot be read with this FLEET_CONTENT_KEY"):
        Vault(key).opened(sealed, tenant, job_id, salt)


@pytest.mark.parametrize("at", [0, 15, -1])
def test_a_changed_byte_opens_nothing(at: int) -> None:
    sealed = bytearray(Vault(KEY).sealed(CONTENT, SALT))
    sealed[at] ^= 1
    with pytest.raises(Undecipherable):
        Vault(KEY).opened(bytes(sealed), "acme", CONTENT.job_id, SALT)


def test_the_key_comes_from_the_environment() -> None:
    vault = Vault.from_environment({"FLEET_CONTENT_KEY": base64.b64encode(KEY).decode()})
    assert vault.opened(Vault(KEY).sealed(CONTENT, SALT), "acme", CONTENT.job_id, SALT) == CONTENT


def test_a_vault_shows_nothing_of_its_key() -> None:
    assert repr(KEY)[2:20] not in repr(Vault(KEY))
