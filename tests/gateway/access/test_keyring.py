"""The keys of a running gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from patience import eventually
from two_tenants import TwoTenants, two_tenants

from fleet.gateway.access.keyring import Keyring
from fleet.model.api_key import ApiKey, Scope, issue
from queues.jetstream.stores.keys import MemoryKeys


def new(
    number: int, expires_at: float | None = None, scopes: frozenset[Scope] = frozenset(Scope)
) -> tuple[ApiKey, str]:
    return issue(f"{number:016x}", f"{number:043d}", "acme", "", scopes, 0.0, expires_at)


@pytest.fixture
async def store() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
async def both() -> AsyncIterator[TwoTenants]:
    async with two_tenants() as both:
        yield both


async def test_the_keys_that_are_there_are_known_at_once(store: MemoryKeys) -> None:
    key, text = new(1, scopes=frozenset({Scope.FILES}))
    await store.add(key)

    async with Keyring(store) as keyring:
        found = await keyring.find(text)

    assert found is not None
    assert (found.tenant, found.key_id, found.scopes) == ("acme", key.id, {Scope.FILES})


@pytest.mark.parametrize(
    "said", ["", "none", "sk-fleet-", "sk-fleet-0000000000000001-" + "0" * 42, "sk-" + "x" * 60, "\ud800"]
)
async def test_what_is_no_key_belongs_to_nobody(store: MemoryKeys, said: str) -> None:
    await store.add(new(1)[0])
    async with Keyring(store) as keyring:
        assert await keyring.find(said) is None


async def test_a_key_with_one_character_wrong_belongs_to_nobody(store: MemoryKeys) -> None:
    key, text = new(1)
    await store.add(key)
    async with Keyring(store) as keyring:
        for place in range(len(text)):
            wrong = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            assert await keyring.find(wrong) is None


async def test_a_key_opens_nothing_from_its_last_second_on(store: MemoryKeys) -> None:
    key, text = new(1, expires_at=100.0)
    await store.add(key)
    now = 99.9
    async with Keyring(store, lambda: now) as keyring:
        assert await keyring.find(text) is not None
        now = 100.0
        assert await keyring.find(text) is None


async def test_a_running_gateway_learns_of_new_and_of_revoked_keys(store: MemoryKeys) -> None:
    key, text = new(1)
    async with Keyring(store) as keyring:
        assert await keyring.find(text) is None
        await store.add(key)
        await eventually(lambda: keyring.find(text))
        await store.revoke(key.id, 5.0)

        async def is_gone() -> bool:
            return await keyring.find(text) is None

        await eventually(is_gone)


async def test_a_key_opens_the_doors_it_is_for_and_no_other(both: TwoTenants) -> None:
    lesser = await both.new_key(5, "acme", frozenset({Scope.FILES}))
    headers = {"authorization": f"Bearer {lesser}"}

    refused = await both.acme.http.post("/v1/chat/completions", json={}, headers=headers)

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert "jobs" in refused.json()["error"]["message"]
    assert (await both.acme.http.get("/v1/models", headers=headers)).status_code == 200


async def test_a_chat_is_a_job_of_the_tenant_whose_key_it_came_with(both: TwoTenants) -> None:
    for caller in (both.acme, both.beta):
        await caller.openai.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello."}])

    assert [job.tenant for job in both.fleet.jobs] == ["acme", "beta"]


async def test_a_revoked_key_is_refused_like_one_that_never_was(both: TwoTenants) -> None:
    await both.revoke(both.acme)
    _, unknown = issue("a" * 16, "a" * 43, "acme", "", Scope, 0.0, None)

    answers = [
        await both.beta.http.get("/v1/models", headers={"authorization": f"Bearer {text}"})
        for text in (both.acme.key, unknown, "none")
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
