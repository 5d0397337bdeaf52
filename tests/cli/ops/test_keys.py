"""`fleet keys`: what an operator does with API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.model.api_key import API_KEY, ApiKey, Scope

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


def stored(app: App) -> list[ApiKey]:
    return list(asyncio.run(app.keys.read_all()).values())


def test_a_key_that_is_created_is_printed_alone_on_stdout_and_stored_as_a_hash(fake_app: App, invoke: Invoke) -> None:
    result = invoke("keys", "create", "--tenant", "acme", "--name", "nightly job")

    text = result.stdout.strip()
    [key] = stored(fake_app)
    assert API_KEY.fullmatch(text) and key.is_text(text)
    assert (key.tenant, key.name, key.scopes, key.expires_at) == ("acme", "nightly job", frozenset(Scope), None)
    assert text.rpartition(key.id)[2] not in repr(key)


def test_a_key_opens_what_was_asked_and_expires_when_asked(fake_app: App, invoke_json: InvokeJson) -> None:
    words = ("--scope", "files", "--scope", "batches", "--expires-days", "2")
    made = invoke_json("keys", "create", "--tenant", "acme", *words)

    [key] = stored(fake_app)
    assert key.scopes == {Scope.FILES, Scope.BATCHES} and made["scopes"] == ["batches", "files"]
    assert key.expires_at == made["expires_at"] == key.created_at + 2 * 86_400


def test_no_two_keys_are_the_same(invoke_json: InvokeJson) -> None:
    made = [invoke_json("keys", "create", "--tenant", "acme") for _ in range(3)]
    assert len({each["key"] for each in made}) == len({each["id"] for each in made}) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--tenant", "a.b"),
        ("--tenant", "invalid"),
        ("--tenant", "acme", "--name", "n" * 65),
        ("--tenant", "acme", "--name", "a\x1b[2J"),
    ],
)
def test_a_key_for_nobody_or_of_an_impossible_name_is_refused(
    fake_app: App, invoke: Invoke, words: tuple[str, ...]
) -> None:
    assert invoke("keys", "create", *words).exit_code == 1
    assert stored(fake_app) == []


def test_list_shows_the_state_of_every_key_and_no_key(fake_app: App, invoke_json: InvokeJson, invoke: Invoke) -> None:
    first, second, third = (
        invoke_json("keys", "create", "--tenant", tenant, "--expires-days", days)
        for tenant, days in (("acme", "0.0001"), ("acme", "1"), ("beta", "1"))
    )
    invoke_json("keys", "revoke", third["id"])

    listed = invoke_json("keys", "list")["keys"]

    assert [each["id"] for each in listed] == [first["id"], second["id"], third["id"]]
    assert [each["state"] for each in listed[1:]] == ["valid", "revoked"]
    assert [each["id"] for each in invoke_json("keys", "list", "--tenant", "beta")["keys"]] == [third["id"]]
    shown = invoke("keys", "list").output
    for each in (first, second, third):
        assert each["id"] in shown and each["key"] not in shown
        assert all(key.digest not in shown for key in stored(fake_app))


def test_a_key_is_revoked_by_its_id_or_by_itself(fake_app: App, invoke_json: InvokeJson) -> None:
    by_id, by_text = (invoke_json("keys", "create", "--tenant", "acme") for _ in range(2))

    assert invoke_json("keys", "revoke", by_id["id"], by_text["key"]) == {"revoked": [by_id["id"], by_text["id"]]}
    assert all(key.revoked_at is not None for key in stored(fake_app))


@pytest.mark.parametrize("said", ["0" * 16, "a.>", "*", "sk-fleet-0000000000000000-short"])
def test_a_key_that_does_not_exist_cannot_be_revoked_and_is_not_repeated(invoke: Invoke, said: str) -> None:
    result = invoke("keys", "revoke", said)

    assert result.exit_code == 1
    assert "no API key" in result.output and said not in result.output


def test_without_a_broker_the_error_says_what_to_do(fake_app: App, invoke: Invoke) -> None:
    fake_app.is_up = False
    assert "fleet up" in invoke("keys", "create", "--tenant", "acme").output
