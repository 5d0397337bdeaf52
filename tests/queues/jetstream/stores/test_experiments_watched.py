"""The experiments on a real server: a bucket that is gone, one made anew, a restart, a stranger's record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig
from structlog.testing import capture_logs

from fleet.model.errors import QueueUnavailable
from fleet.model.experiment import Arm, Assignment, Experiment, Unit
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from queues.jetstream.client.connection import connect
from queues.jetstream.stores import bucket, experiments
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.1, target="llama-8b"),))

LINE = LedgerEntry(
    *("job-0123456789abcdef", "acme", Lane.BULK, 1.0, Reason.CONFIDENT, "chat", "paid", Status.SUCCEEDED),
    assigned=Assignment("trial", "candidate", 0.1),
)

Told = set[str] | None


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


@pytest.fixture
async def seen(
    rig: JetStreamRig, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Queue[Told]]:
    """The names in force, each time the watcher is told; it gives up soon where it can read nothing.

    A pull that reaches the server while it deletes the stream is never answered: the watcher's own connection waits for
    that no longer than it must. It may be told more often that nothing is known, which changes no outcome.
    """
    monkeypatch.setattr(bucket, "LOST_SECONDS", 0.0)
    monkeypatch.setattr(bucket, "PAUSE_SECONDS", 0.05)
    names: asyncio.Queue[Told] = asyncio.Queue()

    def on_change(found: Mapping[str, Experiment] | None) -> None:
        names.put_nowait(None if found is None else set(found))

    connection = await connect(own_server.url, timeout_seconds=0.5)
    store = experiments.JetStreamExperiments(connection, poll_seconds=0.05)
    task = asyncio.create_task(store.watch(on_change))
    yield names
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def until(seen: asyncio.Queue[Told], names: Told) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await seen.get() != names:
            pass


async def test_where_the_bucket_is_gone_nobody_knows_what_is_in_force_until_it_is_there_again(
    rig: JetStreamRig, seen: asyncio.Queue[Told]
) -> None:
    js = rig.connection.nats.jetstream()
    await rig.experiments().change(lambda _: TRIAL)
    await until(seen, {"trial"})
    await js.delete_stream("KV_experiments")
    await until(seen, None)
    with pytest.raises(QueueUnavailable, match="KV_experiments"):
        await rig.experiments().read_all()
    await apply(js, TopologySpec())
    await until(seen, set())
    await rig.experiments().change(lambda _: TRIAL)
    await until(seen, {"trial"})


async def test_a_bucket_that_is_purged_by_hand_is_seen_to_be_empty(
    rig: JetStreamRig, seen: asyncio.Queue[Told]
) -> None:
    await rig.experiments().change(lambda _: TRIAL)
    await until(seen, {"trial"})
    await rig.connection.nats.jetstream().purge_stream("KV_experiments")
    await until(seen, set())
    await rig.experiments().change(lambda _: TRIAL)
    await until(seen, {"trial"})


async def test_many_lines_come_in_slices_that_say_how_many_are_still_to_come(rig: JetStreamRig) -> None:
    lines = [replace(LINE, job_id=f"job-{number:016}") for number in range(3 * experiments.SLICE + 1)]
    await rig.queue.publish(lines)
    told: list[tuple[int, int]] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for found, missing in rig.experiments().lines(0.0):
            told.append((len(found), missing))
            if found and not missing:
                break
    assert sum(count for count, _ in told) == len(lines)
    assert max(count for count, _ in told) == experiments.SLICE
    assert told[0] == (0, len(lines))
    assert [missing for _, missing in told] == sorted((missing for _, missing in told), reverse=True)


async def test_a_record_of_a_stranger_is_left_out_and_named(rig: JetStreamRig) -> None:
    await rig.experiments().change(lambda _: TRIAL)
    with capture_logs() as logs:
        await rig.inject("$KV.experiments.other", b'{"schema": 1, "name": "other", "arms": []}')
        assert set(await rig.experiments().read_all()) == {"trial"}
    [left_out] = [each for each in logs if each["event"] == "experiment_left_out"]
    assert left_out["subject"] == "$KV.experiments.other"
    assert "unit" in left_out["problem"]
