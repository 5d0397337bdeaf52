"""Who a connection is on NATS."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.model.errors import ConfigError
from queues.jetstream.client import login as module
from queues.jetstream.client.login import ANONYMOUS, Login


def test_without_a_login_nats_is_told_nothing() -> None:
    assert ANONYMOUS.options() == {}


def test_a_users_replies_come_to_an_inbox_of_its_own() -> None:
    options = Login("dispatcher", "word").options()
    assert options == {"user": "dispatcher", "password": "word", "inbox_prefix": "_INBOX_dispatcher"}
    assert Login("dispatcher", "word", inbox_prefix="_INBOX").options()["inbox_prefix"] == "_INBOX"


def test_no_secret_is_shown() -> None:
    assert "word" not in repr(Login("dispatcher", "word", nkey_seed="word"))


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="nats_ca_path"):
            Login(ca_path=path).options()


@pytest.mark.parametrize("login", [Login(creds_path=Path("user.creds")), Login(nkey_seed="SUINVENTED")])
def test_a_package_that_is_missing_is_named(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"nats-py\[nkeys\]"):
        login.options()


def test_a_seed_and_a_file_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert Login(creds_path=Path("user.creds")).options() == {"user_credentials": "user.creds"}
    assert Login(nkey_seed="SUINVENTED").options() == {"nkeys_seed_str": "SUINVENTED"}
