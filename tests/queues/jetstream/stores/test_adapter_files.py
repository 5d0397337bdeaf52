"""The files of adapters: what is too large, what is not whole, what a stranger wrote; and a stranger's record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from queue_rigs import JetStreamRig, jetstream_rig
from structlog.testing import capture_logs

from fleet.model.adapter import adapter_digest
from fleet.model.errors import ConfigError, PartMissing
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.server.embedded import EmbeddedServer

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 300_000}
DIGEST = adapter_digest(FILES)
PART = f"$O.adapters.C.{DIGEST}.adapter_model.safetensors"


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


async def bound(rig: JetStreamRig, size: int) -> None:
    js = rig.connection.nats.jetstream()
    await js.update_stream((await js.stream_info("OBJ_adapters")).config.evolve(max_bytes=size))


async def test_files_larger_than_the_store_are_refused_before_a_part_is_stored(rig: JetStreamRig) -> None:
    await bound(rig, 200_000)
    small = MemoryAdapters(room=200_000)
    for store in (rig.adapters(), small):
        with pytest.raises(ConfigError, match=r"are 300,002 bytes, larger than the store: 200,000 of 200,000"):
            await store.put_files(DIGEST, FILES)
        assert await store.files(DIGEST) is None
    await bound(rig, 310_000)
    await rig.adapters().put_files(DIGEST, FILES)
    assert await rig.adapters().files(DIGEST) == FILES


async def test_files_of_which_a_part_is_gone_are_not_there(rig: JetStreamRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queues.jetstream.stores.large.LAG_SECONDS", 0.0)
    store = rig.adapters()
    await store.put_files(DIGEST, {**FILES, "sources.json": b"{}"})
    js = rig.connection.nats.jetstream()
    await js.purge_stream("OBJ_adapters", subject=f"$O.adapters.C.{DIGEST}.sources.json.0")
    assert await store.files(DIGEST) is None
    await rig.inject(f"$O.adapters.C.{DIGEST}.sources.json.0", b"{}")
    assert await store.files(DIGEST) is not None
    await js.purge_stream("OBJ_adapters", subject=f"{PART}.1")
    assert await store.files(DIGEST) is None


async def test_who_watches_keeps_what_was_known_while_nobody_can_read() -> None:
    store = MemoryAdapters()
    seen: list[object] = []
    watching = asyncio.create_task(store.watch(seen.append))
    await asyncio.sleep(0)
    store.lose()
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert seen == [{}]


@pytest.mark.proves("Files of an adapter that are not those of its digest are never handed out", how="real")
async def test_other_bytes_than_those_stored_are_never_handed_out(rig: JetStreamRig) -> None:
    store = rig.adapters()
    await store.put_files(DIGEST, FILES)
    await rig.inject(f"{PART}.1", b"y" * 131_072)
    with pytest.raises(PartMissing, match=f"files of adapter {DIGEST[:12]} are not those that were stored"):
        await store.files(DIGEST)


async def test_every_nats_client_can_read_the_files(rig: JetStreamRig) -> None:
    await rig.adapters().put_files(DIGEST, FILES)
    objects = await rig.connection.nats.jetstream().object_store("adapters")
    info = await objects.get_info(f"{DIGEST}.adapter_model.safetensors")
    assert (info.size, info.chunks) == (300_000, 3)


async def test_a_record_of_a_stranger_is_left_out_and_named(rig: JetStreamRig) -> None:
    with capture_logs() as logs:
        await rig.inject("$KV.adapters.other", b'{"schema": 1, "name": "other", "tasks": []}')
        assert await rig.adapters().read_all() == {}
    [left_out] = [each for each in logs if each["event"] == "adapter_left_out"]
    assert (left_out["subject"], "target" in left_out["problem"]) == ("$KV.adapters.other", True)
