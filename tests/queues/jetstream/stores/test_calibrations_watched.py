"""The calibrations on a real server: through its restart, a bucket made anew, rivals and strangers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig
from structlog.testing import capture_logs

from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.errors import QueueUnavailable
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

KEY = CalibrationKey("llama-8b", "chat", "short")


def calibration(version: str) -> Calibration:
    scorer = Scorer(Fit.PLATT, ("min_logit",), (1.0,), 0.0)
    return Calibration(KEY, "llama-8b", "main", "raw_logprobs", version, 1.0, 40, scorer)


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


@pytest.fixture
async def seen(rig: JetStreamRig) -> AsyncIterator[asyncio.Queue[str | None]]:
    """The version in force, each time the watcher is told."""
    versions: asyncio.Queue[str | None] = asyncio.Queue()

    def on_change(found: Mapping[CalibrationKey, Calibration]) -> None:
        versions.put_nowait(found[KEY].version if found else None)

    task = asyncio.create_task(rig.calibrations().watch(on_change))
    yield versions
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(seen: asyncio.Queue[str | None], version: str | None) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await seen.get() != version:
            pass


async def put(rig: JetStreamRig, version: str) -> None:
    """As soon as the broker takes it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await rig.calibrations().put([calibration(version)])
                return
            except QueueUnavailable:
                continue


async def test_a_change_after_a_restart_of_the_broker_is_seen(
    rig: JetStreamRig, seen: asyncio.Queue[str | None], own_server: EmbeddedServer
) -> None:
    await put(rig, "v1")
    await until(seen, "v1")
    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)
    await put(rig, "v2")

    await until(seen, "v2")


async def test_a_bucket_that_was_removed_and_made_anew_is_watched_on(
    rig: JetStreamRig, seen: asyncio.Queue[str | None]
) -> None:
    js = rig.connection.nats.jetstream()
    await put(rig, "v1")
    await until(seen, "v1")
    await js.delete_stream("KV_calibrations")
    await apply(js, TopologySpec())

    await until(seen, None)
    await put(rig, "v2")
    await until(seen, "v2")


async def test_a_fleet_without_the_bucket_says_so_where_it_is_asked(rig: JetStreamRig) -> None:
    await rig.connection.nats.jetstream().delete_stream("KV_calibrations")

    with pytest.raises(QueueUnavailable, match="KV_calibrations cannot be read"):
        await rig.calibrations().read_all()
    with pytest.raises(QueueUnavailable):
        await rig.calibrations().put([calibration("v1")])


async def test_whoever_rolls_back_does_not_undo_what_came_meanwhile(rig: JetStreamRig) -> None:
    for version in ("v1", "v2"):
        await put(rig, version)

    outcomes = await asyncio.gather(*(rig.calibrations().roll_back(KEY) for _ in range(4)), return_exceptions=True)

    assert sum(isinstance(outcome, Calibration) for outcome in outcomes) == 1
    assert len(await rig.stored("KV_calibrations")) == 3
    assert (await rig.calibrations().read_all())[KEY].version == "v1+rolled-back"


async def test_what_cannot_be_read_is_left_out_and_logged(rig: JetStreamRig) -> None:
    await put(rig, "v1")
    await rig.inject("$KV.calibrations.llama-8b.other.short", b"not JSON")
    await rig.inject("$KV.calibrations.somewhere-else", (await rig.stored("KV_calibrations"))[0])
    await rig.inject("$KV.calibrations.gone", b"", {"KV-Operation": "DEL"})

    with capture_logs() as lines:
        found = await rig.calibrations().read_all()

    assert found == {KEY: calibration("v1")}
    assert [line["subject"] for line in lines if line["event"] == "calibration_left_out"] == [
        "$KV.calibrations.llama-8b.other.short",
        "$KV.calibrations.somewhere-else",
    ]
