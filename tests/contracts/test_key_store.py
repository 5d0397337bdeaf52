"""What every store of API keys does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from queue_rigs import MemoryRig, Rig
from watched_stores import watching

from fleet.model.api_key import ApiKey, Scope, issue
from fleet.model.errors import QueueUnavailable

Seen = Mapping[str, ApiKey]


def key(number: int = 1, tenant: str = "acme", expires_at: float | None = None) -> ApiKey:
    issued, _ = issue(f"{number:016x}", f"{number:043d}", tenant, "nightly", [Scope.BATCHES], 1000.5, expires_at)
    return issued


async def store_bytes(rig: Rig, subject: str, body: bytes) -> None:
    """Store what a stranger or a newer version may have written."""
    if isinstance(rig, MemoryRig):
        rig.keys().store(subject, body)
    else:
        await rig.inject(subject, body)


async def test_a_key_is_read_as_it_was_added(rig: Rig) -> None:
    added = [key(1), key(2, "beta", expires_at=2000.25)]
    for each in added:
        await rig.keys().add(each)

    assert await rig.keys().read_all() == {each.id: each for each in added}


async def test_there_are_no_keys_before_one_was_added(rig: Rig) -> None:
    assert await rig.keys().read_all() == {}


async def test_a_second_key_of_the_same_id_is_refused_and_changes_nothing(rig: Rig) -> None:
    await rig.keys().add(key(1))

    with pytest.raises(QueueUnavailable):
        await rig.keys().add(replace(key(1), tenant="beta"))
    assert await rig.keys().read_all() == {key(1).id: key(1)}


async def test_a_revoked_key_stays_known_as_revoked(rig: Rig) -> None:
    await rig.keys().add(key(1))
    await rig.keys().add(key(2))

    revoked = await rig.keys().revoke(key(1).id, 1500.0)

    assert revoked == replace(key(1), revoked_at=1500.0)
    assert await rig.keys().read_all() == {key(1).id: revoked, key(2).id: key(2)}


async def test_revoking_twice_leaves_the_first_time(rig: Rig) -> None:
    await rig.keys().add(key(1))
    await rig.keys().revoke(key(1).id, 1500.0)

    again = await rig.keys().revoke(key(1).id, 1600.0)

    assert again == replace(key(1), revoked_at=1500.0)


async def test_a_key_that_does_not_exist_cannot_be_revoked(rig: Rig) -> None:
    assert await rig.keys().revoke(key(1).id, 1500.0) is None


async def test_keys_revoked_by_two_at_once_are_revoked_once(rig: Rig) -> None:
    await rig.keys().add(key(1))

    both = await asyncio.gather(rig.keys().revoke(key(1).id, 1500.0), rig.keys().revoke(key(1).id, 1600.0))

    assert both[0] == both[1] == (await rig.keys().read_all())[key(1).id]


async def test_whoever_watches_is_passed_all_keys_and_then_every_change(rig: Rig) -> None:
    await rig.keys().add(key(1))

    async with watching(rig.keys()) as seen:
        assert await seen.get() == {key(1).id: key(1)}
        await rig.keys().add(key(2))
        assert await seen.get() == {key(1).id: key(1), key(2).id: key(2)}
        await rig.keys().revoke(key(1).id, 1500.0)
        assert (await seen.get())[key(1).id].revoked_at == 1500.0


@pytest.mark.parametrize(
    ("stored_under", "body"),
    [
        ("00000000000000ff", b"{}"),
        ("00000000000000ff", b"no key"),
        (
            "00000000000000ff",
            b'{"id":"00000000000000ff","tenant":"acme","name":"","digest":"","scopes":["all"],"created_at":1}',
        ),
        (
            "00000000000000ff",
            b'{"id":"00000000000000fe","tenant":"acme","name":"","digest":"","scopes":[],"created_at":1}',
        ),
    ],
    ids=["without fields", "no JSON", "a scope nobody knows", "under the id of another"],
)
async def test_what_cannot_be_read_opens_nothing_and_hides_no_other_key(
    rig: Rig, stored_under: str, body: bytes
) -> None:
    await rig.keys().add(key(1))
    await store_bytes(rig, f"$KV.keys.{stored_under}", body)

    assert await rig.keys().read_all() == {key(1).id: key(1)}
    assert await rig.keys().revoke(stored_under, 1500.0) is None


async def test_a_key_that_an_operator_has_deleted_is_gone(rig: Rig) -> None:
    await rig.keys().add(key(1))
    await store_bytes(rig, f"$KV.keys.{key(1).id}", b"")

    assert await rig.keys().read_all() == {}


async def test_no_text_of_a_key_is_stored(rig: Rig) -> None:
    added, text = issue(f"{7:016x}", f"{7:043d}", "acme", "", Scope, 1000.0, None)
    await rig.keys().add(added)

    read = (await rig.keys().read_all())[added.id]

    assert read.is_text(text) and not read.is_text(text[:-1] + "8")
    assert f"{7:043d}" not in repr(read)
