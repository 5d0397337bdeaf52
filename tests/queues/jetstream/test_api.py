"""The requests of the JetStream API, answered by a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueRefused, QueueUnavailable
from fleet.model.job import Lane
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE

STREAM = "WORK"


@pytest.fixture
async def connection(own_server: EmbeddedServer) -> AsyncIterator[Connection]:
    connection = await connect(own_server.url)
    config = StreamConfig(name=STREAM, subjects=["work.>"], allow_direct=True, max_bytes=1_000_000)
    await connection.nats.jetstream().add_stream(config)
    yield connection
    await connection.close()


async def test_a_stored_message_is_found_by_its_sequence_its_subject_and_directly(connection: Connection) -> None:
    first, last = [await api.publish(connection, Message("work.a", body)) for body in (b"1", b"2")]
    [found, latest, none] = await api.get(connection, [(STREAM, first), (STREAM, last), (STREAM, last + 1)])
    assert found is not None and (found.subject, found.data, found.sequence) == ("work.a", b"1", first)
    assert none is None
    assert await api.last_by_subject(connection, STREAM, ["work.a", "work.b"]) == [latest, None]
    assert await api.direct_get(connection, STREAM, ["work.a", "work.b"]) == [b"2", None]


async def test_a_message_without_a_body_is_not_missing(connection: Connection) -> None:
    await api.publish(connection, Message("work.a", b""))
    [found] = await api.last_by_subject(connection, STREAM, ["work.a"])
    assert found is not None and found.data == b""
    assert await api.direct_get(connection, STREAM, ["work.a"]) == [b""]


async def test_a_deletion_says_whether_there_was_a_message(connection: Connection) -> None:
    sequence = await api.publish(connection, Message("work.a", b"1"))
    await api.publish(connection, Message("work.a", b"2"))
    assert await api.delete(connection, STREAM, sequence) is True
    assert await api.delete(connection, STREAM, sequence) is False
    assert await api.delete(connection, STREAM, sequence + 9) is False
    assert await api.get(connection, [(STREAM, sequence)]) == [None]


async def test_a_message_that_expects_what_is_not_last_any_more_is_a_conflict(connection: Connection) -> None:
    first = await api.publish(connection, Message("work.a", b"1"))
    expects_first = Message("work.a", b"2", {EXPECTED_LAST_SUBJECT_SEQUENCE: str(first)})
    assert await api.publish(connection, expects_first) == first + 1
    with pytest.raises(api.Conflict, match=r"work\.a: JetStream: wrong last sequence"):
        await api.publish(connection, expects_first)


async def test_the_state_of_a_stream_counts_the_subjects_asked_for(connection: Connection) -> None:
    for subject in ("work.a", "work.a", "work.b.c"):
        await api.publish(connection, Message(subject, b"1"))
    info = await api.stream_info(connection, STREAM, "work.*")
    assert (info.subjects, info.total, info.messages) == ({"work.a": 2}, 1, 3)
    assert (info.first_sequence, info.last_sequence) == (1, 3)
    assert 0 < info.bytes < info.max_bytes == 1_000_000
    assert (await api.stream_info(connection, STREAM)).subjects == {}


async def test_a_consumer_that_is_not_there_has_no_state(connection: Connection) -> None:
    here, gone = WorkOf("llama-8b", Lane.BULK), WorkOf("llama-70b", Lane.BULK)
    config = ConsumerConfig(name="llama-8b-bulk", durable_name="llama-8b-bulk")
    await connection.nats.jetstream().add_consumer(STREAM, config)
    await api.publish(connection, Message("work.a", b"1"))
    assert await api.consumer_info(connection, [here, gone]) == [api.ConsumerInfo(1, 0, 0), None]
    await api.delete_consumers(connection, [here, gone])
    assert await api.consumer_info(connection, [here]) == [None]


async def test_a_stream_that_is_missing_is_named_with_the_way_out(connection: Connection) -> None:
    for asked in (
        api.get(connection, [("DEAD", 1)]),
        api.last_by_subject(connection, "DEAD", ["dead.a"]),
        api.delete(connection, "DEAD", 1),
        api.stream_info(connection, "DEAD"),
    ):
        with pytest.raises(QueueRefused, match="DEAD: JetStream: stream not found: an operator runs `fleet topology"):
            await asked
    with pytest.raises(QueueRefused, match="DEAD: no stream takes it: an operator runs"):
        await api.direct_get(connection, "DEAD", ["dead.a"])
    with pytest.raises(QueueRefused, match=r"dead\.a: no stream takes it: an operator runs"):
        await api.publish(connection, Message("dead.a", b"1"))


async def test_what_was_asked_before_the_connection_broke_is_not_asked_after(connection: Connection) -> None:
    with pytest.raises(QueueUnavailable, match="broke"):
        await api.get(connection, [(STREAM, 1)], generation=connection.generation - 1)
