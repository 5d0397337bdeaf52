"""What every store of adapters does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from queue_rigs import Rig
from watched_stores import watching

from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter, adapter_digest
from fleet.model.errors import ConfigError, InvalidAdapter
from policies.adapters import steps
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.wire.adapter import encode_adapter

Told = Mapping[str, RegisteredAdapter]


def files_of(content: bytes, size: int = 1) -> dict[str, bytes]:
    return {"adapter_config.json": b'{"r": 16}', "adapter_model.safetensors": content * size}


FILES = files_of(b"old")
LARGE = files_of(b"0123456789abcdef", 20_000)
OLD = AdapterVersion(adapter_digest(FILES), "b" * 64, 16, 12, 1.0, card={"task": "plan.schedule", "loss": 0.25})
NEW = AdapterVersion(
    adapter_digest(LARGE), "b" * 64, 16, 320_009, 2.0, evidence={"passed": True, "gates": [{"n": 200}]}
)
SCOPE = RegisteredAdapter("scheduler", "llama-8b", frozenset({"plan.schedule"}), frozenset({"acme"}))
SERVED = replace(
    SCOPE,
    versions=(OLD, NEW),
    aliases={Alias.STABLE: OLD.digest, Alias.CANDIDATE: NEW.digest},
    why="better: 45 % instead of 13 %",
    changed_at=3.0,
)


async def test_an_adapter_is_read_as_it_was_stored(rig: Rig) -> None:
    assert await rig.adapters().change(lambda _: SERVED) == SERVED
    of_all = replace(SCOPE, name="bare", tenants=None)
    await rig.adapters().change(lambda _: of_all)
    assert await rig.adapters().read_all() == {"scheduler": SERVED, "bare": of_all}


async def test_a_change_sees_what_is_there_and_one_that_is_refused_stores_nothing(rig: Rig) -> None:
    store = rig.adapters()
    await store.change(lambda there: steps.registered(there, SCOPE, OLD, 2.0))
    second = replace(SCOPE, name="second")
    with pytest.raises(InvalidAdapter, match="overlap with those of 'scheduler'"):
        await store.change(lambda there: steps.registered(there, second, NEW, 3.0))
    [found] = (await store.read_all()).values()
    assert (found.name, found.versions) == ("scheduler", (OLD,))


async def test_of_operators_who_register_the_same_jobs_at_once_one_is_first(rig: Rig) -> None:
    named = [replace(SCOPE, name=f"adapter-{n}") for n in range(4)]
    outcomes = await asyncio.gather(
        *(
            rig.adapters().change(lambda there, each=each: steps.registered(there, each, OLD, 7.0))  # type: ignore[misc]
            for each in named
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, InvalidAdapter) for each in outcomes) == 3
    assert len(await rig.adapters().read_all()) == 1


async def test_of_operators_who_roll_back_at_once_one_does(rig: Rig) -> None:
    promoted = replace(SERVED, aliases={Alias.STABLE: NEW.digest, Alias.PREVIOUS: OLD.digest})
    await rig.adapters().change(lambda _: promoted)
    outcomes = await asyncio.gather(
        *(
            rig.adapters().change(lambda there: steps.rolled_back(there["scheduler"], NEW.digest, "worse", 7.0))
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, InvalidAdapter) for each in outcomes) == 2
    [found] = (await rig.adapters().read_all()).values()
    assert found.aliases == {Alias.STABLE: OLD.digest}


async def test_a_watcher_is_told_what_there_is_and_then_of_every_change(rig: Rig) -> None:
    async with watching(rig.adapters()) as seen:
        assert await seen.get() == {}
        await rig.adapters().change(lambda _: SERVED)
        assert await seen.get() == {"scheduler": SERVED}
        back = await rig.adapters().change(lambda there: steps.rolled_back(SERVED, OLD.digest, "worse", 9.0))
        assert await seen.get() == {"scheduler": back}
        await rig.adapters().remove("scheduler")
        assert await seen.get() == {}


async def test_files_come_back_as_they_were_stored(rig: Rig) -> None:
    store = rig.adapters()
    assert await store.files(OLD.digest) is None
    for version, files in ((OLD, FILES), (NEW, LARGE), (NEW, {**LARGE, "sources.json": b"{}"})):
        await store.put_files(version.digest, files)
        await store.put_files(version.digest, files)
        assert await rig.adapters().files(version.digest) == files
        assert await rig.adapters().sources(version.digest) == files.get("sources.json")
    await store.put_files(NEW.digest, {**LARGE, "sources.json": b"of others"})
    assert await store.files(NEW.digest) == {**LARGE, "sources.json": b"{}"}


@pytest.mark.parametrize(
    ("digest", "files", "rule"),
    [
        ("c" * 64, FILES, "digest: must be the SHA-256"),
        (
            OLD.digest,
            {**FILES, "README.md": b""},
            "files: must be adapter_config.json and adapter_model",
        ),
        (OLD.digest, {}, "not none"),
    ],
)
async def test_files_that_are_not_those_of_the_digest_are_refused(
    rig: Rig, digest: str, files: Mapping[str, bytes], rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule):
        await rig.adapters().put_files(digest, files)
    assert await rig.adapters().files(digest) is None


@pytest.mark.parametrize("digest", ["stable", "*", OLD.digest[:12]])
async def test_what_is_no_digest_has_no_files(rig: Rig, digest: str) -> None:
    assert await rig.adapters().files(digest) is None


async def test_with_an_adapter_go_the_files_that_no_other_has(rig: Rig) -> None:
    store = rig.adapters()
    await store.put_files(OLD.digest, FILES)
    await store.put_files(NEW.digest, LARGE)
    await store.change(lambda _: SERVED)
    await store.change(lambda _: replace(SCOPE, name="second", versions=(NEW,)))
    await store.remove("scheduler")
    assert set(await store.read_all()) == {"second"}
    assert await store.files(OLD.digest) is None
    assert await store.files(NEW.digest) == LARGE
    await store.remove("nobody")
    await store.change(lambda _: replace(SCOPE, name="second"))
    assert await store.files(NEW.digest) is None


async def test_files_that_no_adapter_has_are_swept_away_and_no_others(rig: Rig) -> None:
    store = rig.adapters()
    await store.put_files(OLD.digest, FILES)
    await store.put_files(NEW.digest, LARGE)
    await store.change(lambda there: steps.registered(there, SCOPE, OLD, 2.0))
    assert set(await rig.adapters().sweep()) == {NEW.digest}
    assert await store.files(NEW.digest) is None
    assert await store.files(OLD.digest) == FILES
    assert set(await store.sweep()) == set()


async def test_files_of_an_adapter_that_cannot_be_read_are_not_swept_away() -> None:
    store = MemoryAdapters()
    await store.put_files(OLD.digest, FILES)
    await store.change(lambda _: SERVED)
    subject = store.kind.subject("scheduler")
    store._messages[subject] = store._messages[subject].replace(b'"stable"', b'"of_a_later_version"')
    assert await store.read_all() == {}
    assert set(await store.sweep()) == set()
    assert await store.files(OLD.digest) == FILES


async def test_sixteen_versions_with_all_that_may_be_said_of_them_are_one_message() -> None:
    notes = {field: {"why": "x" * (most - 11)} for field, most in steps.MOST_BYTES.items()}
    adapter = replace(SCOPE, versions=())
    for number in range(steps.MOST_VERSIONS):
        version = replace(OLD, digest=f"{number:064x}", card=notes["card"])
        adapter = steps.registered({adapter.name: adapter}, SCOPE, version, 2.0)
        adapter = steps.with_evidence(adapter, version.digest, notes["evidence"], 2.0)
    assert len(encode_adapter(adapter)) < 1_000_000


async def test_a_removal_that_is_refused_removes_nothing(rig: Rig) -> None:
    store = rig.adapters()
    await store.put_files(OLD.digest, FILES)
    await store.change(lambda _: SERVED)
    with pytest.raises(InvalidAdapter, match="answers jobs"):
        await store.remove("scheduler", lambda there: steps.check_removal(there["scheduler"], []))
    assert await store.read_all() == {"scheduler": SERVED}
    assert await store.files(OLD.digest) == FILES
