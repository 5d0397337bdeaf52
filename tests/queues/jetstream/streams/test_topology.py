"""Streams and consumers come out as specified, however often the specification is applied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nats.js.api import ConsumerConfig

from fleet.model.delivery import JobsOf
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.consuming.consumers import ensure_consumer
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import Change, ChangeKind, apply, stream_sizes
from queues.server.embedded import EmbeddedServer

SPEC = TopologySpec()


@pytest.fixture
async def connection(own_server: EmbeddedServer) -> AsyncIterator[Connection]:
    connection = await connect(own_server.url)
    yield connection
    await connection.close()


async def test_streams_are_created_then_left_alone_then_updated_where_they_differ(connection: Connection) -> None:
    js = connection.nats.jetstream()

    kinds = [{change.kind for change in await apply(js, SPEC)} for _ in range(2)]
    changes = await apply(js, replace(SPEC, result_max_age_seconds=3600))

    assert kinds == [{ChangeKind.CREATED}, {ChangeKind.UNCHANGED}]
    assert [change for change in changes if change.kind is not ChangeKind.UNCHANGED] == [
        Change("RESULTS", ChangeKind.UPDATED),
        Change("OBJ_results-large", ChangeKind.UPDATED),
    ]
    assert (await js.stream_info("RESULTS")).config.max_age == 3600


async def test_what_the_specification_does_not_speak_of_is_kept(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    await js.update_stream((await js.stream_info("DEAD")).config.evolve(max_bytes=1_000_000))

    await apply(js, replace(SPEC, dead_max_age_seconds=60))

    config = (await js.stream_info("DEAD")).config
    assert (config.max_bytes, config.max_age) == (1_000_000, 60)


async def test_files_of_an_older_fleet_keep_one_message_a_subject_from_now_on(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    await js.update_stream((await js.stream_info("FILES")).config.evolve(max_msgs_per_subject=-1))

    changed = [change for change in await apply(js, SPEC) if change.kind is not ChangeKind.UNCHANGED]

    assert changed == [Change("FILES", ChangeKind.UPDATED)]
    assert (await js.stream_info("FILES")).config.max_msgs_per_subject == 1


async def test_what_the_operator_has_set_is_kept(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    own = {"max_age": 7 * 86400.0, "duplicate_window": 3600.0, "subjects": ["results.*.*", "archive.*"]}
    await js.update_stream((await js.stream_info("RESULTS")).config.evolve(**own))

    kinds = {change.kind for change in await apply(js, SPEC)}

    config = (await js.stream_info("RESULTS")).config
    assert kinds == {ChangeKind.UNCHANGED}
    assert {name: getattr(config, name) for name in own} == own


async def test_a_stream_made_by_hand_keeps_its_storage_and_gets_the_subjects_it_lacks(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await js.add_stream(name="LEDGER", subjects=["accounts.*"], storage="memory", max_age=60, duplicate_window=30)

    changes = await apply(js, SPEC)

    config = (await js.stream_info("LEDGER")).config
    assert Change("LEDGER", ChangeKind.UPDATED) in changes
    assert (config.subjects, config.storage, config.max_age) == (["accounts.*", "ledger.*"], "memory", 60)


async def test_a_stream_is_created_with_the_shipped_defaults(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)

    names = ("JOBS", "RESULTS", "LEDGER", "DEAD", "FEEDBACK", "KV_calibrations", "KV_spend", "CANCELS")
    configs = [(await js.stream_info(name)).config for name in names]

    assert [config.max_age for config in configs] == [0, 86400, 30 * 86400, 14 * 86400, 30 * 86400, 0, 8 * 86400, 86400]
    assert {(c.num_replicas, c.storage, c.duplicate_window) for c in configs} == {(1, "file", 120)}


async def test_the_book_of_spend_is_a_key_value_bucket_for_any_client(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    bucket = await js.key_value("spend")

    await bucket.put("2026-11-20.fleet", b"one")
    await bucket.put("2026-11-20.fleet", b"two")

    assert ((await bucket.status()).history, (await bucket.status()).values) == (1, 1)
    assert (await bucket.get("2026-11-20.fleet")).value == b"two"


async def test_the_calibrations_are_a_key_value_bucket_with_history_for_any_client(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    bucket = await js.key_value("calibrations")

    first = await bucket.put("llama-8b.chat.short", b"one")
    await bucket.put("llama-8b.chat.short", b"two")

    assert (await bucket.status()).history == 32
    assert (await bucket.get("llama-8b.chat.short")).value == b"two"
    assert (await bucket.get("llama-8b.chat.short", revision=first)).value == b"one"


async def test_a_window_never_outlasts_the_messages(connection: Connection) -> None:
    js = connection.nats.jetstream()

    await apply(js, replace(SPEC, result_max_age_seconds=60))
    await apply(js, replace(SPEC, dead_max_age_seconds=50))

    windows = [(await js.stream_info(name)).config.duplicate_window for name in ("RESULTS", "DEAD")]
    assert windows == [60, 50]


async def test_a_change_a_stream_refuses_names_the_stream(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)

    with pytest.raises(ConfigError, match=r"streams\.JOBS"):
        await apply(js, replace(SPEC, storage="memory"))


async def test_sizes_are_those_of_the_fleets_own_streams(connection: Connection) -> None:
    js = connection.nats.jetstream()
    assert await stream_sizes(js) == {}
    await apply(js, SPEC)
    await js.add_stream(name="OTHER", subjects=["other"])
    await js.publish("dead.acme", b"{}")

    queues, records = (
        ("JOBS", "WORK", "CANCELS", "CONTENT", "EVENTS"),
        ("RESULTS", "OBJ_results-large", "LEDGER", "FEEDBACK", "STARTS", "FILES"),
    )
    buckets = (
        "KV_calibrations",
        "KV_spend",
        "KV_load",
        "KV_keys",
        "KV_batches",
        "KV_responses",
        "KV_webhooks",
        "KV_cache",
        "KV_experiments",
        "KV_adapters",
        "OBJ_adapters",
        "KV_turns",
        "KV_provider_batches",
    )
    empty = dict.fromkeys((*queues, *records, *buckets), 0)
    assert await stream_sizes(js) == {**empty, "DEAD": 1}


async def test_a_tenant_has_a_durable_consumer_that_never_gives_up_on_a_job_and_goes_when_idle(
    connection: Connection,
) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    assert await js.consumers_info("JOBS") == []

    for lane in Lane:
        await ensure_consumer(js, JobsOf(lane, "acme"), 7)

    configs = {info.name: info.config for info in await js.consumers_info("JOBS")}
    assert {name: config.filter_subject for name, config in configs.items()} == {
        f"{lane}-acme": f"jobs.{lane}.acme" for lane in Lane
    }
    assert {(c.ack_wait, c.max_deliver, c.max_ack_pending, c.inactive_threshold) for c in configs.values()} == {
        (7, -1, -1, 60)
    }


@pytest.mark.parametrize("lane", Lane)
async def test_the_lane_wide_consumer_of_an_older_fleet_makes_room_for_those_of_the_tenants(
    connection: Connection, lane: Lane
) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    await ensure_consumer(js, JobsOf(lane), 30)
    await apply(js, SPEC)
    assert await js.consumers_info("JOBS") == []

    await ensure_consumer(js, JobsOf(lane), 30)  # an older dispatcher beside
    await ensure_consumer(js, JobsOf(lane, "acme"), 30)

    assert [info.config.name for info in await js.consumers_info("JOBS")] == [f"{lane}-acme"]


async def test_a_tenants_consumer_that_an_older_dispatcher_made_is_used(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, SPEC)
    older = ConsumerConfig(name="bulk-acme", durable_name="bulk-acme", filter_subject="jobs.bulk.acme", max_deliver=-1)
    await js.add_consumer("JOBS", older)

    await ensure_consumer(js, JobsOf(Lane.BULK, "acme"), 30)

    [info] = await js.consumers_info("JOBS")
    assert (info.config.name, info.config.ack_wait) == ("bulk-acme", 30)
