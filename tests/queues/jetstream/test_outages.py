"""What the JetStream queue does when the broker is away, or not set up."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.client import Client
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig

from fleet.model.delivery import Ack, JobsOf, Stored
from fleet.model.errors import ConfigError, InvalidJob, QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue, store
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message

BULK = JobsOf(Lane.BULK)
JOB = Submission("job-0123456789ab", "nudge", {"messages": [{"role": "user", "content": "Remind me."}]}, Lane.BULK)
RESULT = Result(JOB.id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, 5.0)


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


async def test_whatever_waits_for_the_broker_fails_at_once_when_it_goes(
    rig: JetStreamRig, own_server: EmbeddedServer
) -> None:
    results = rig.desk("acme").results()
    waiting = [
        asyncio.create_task(rig.queue.take(BULK, 10, 10 * PATIENCE_SECONDS)),
        asyncio.create_task(_next(results)),
    ]
    assert await rig.queue.take(JobsOf(Lane.INTERACTIVE), 1, 0.05) == []

    # Killed, it has no time to end the pull itself.
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGKILL)

    async with asyncio.timeout(PATIENCE_SECONDS):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [QueueUnavailable, QueueUnavailable]


async def _next(results: AsyncIterator[Result]) -> Result:
    return await anext(results)


@pytest.mark.proves("After a restart of the broker every queue goes on where it was", how="real")
async def test_a_queue_goes_on_where_it_was_after_a_restart_of_the_broker(
    rig: JetStreamRig, own_server: EmbeddedServer
) -> None:
    await rig.desk("acme").submit([JOB])
    [delivery] = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)
    await rig.queue.publish([RESULT])

    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)
    await _until_available(rig.queue.settle([Ack(delivery)]))

    assert await rig.queue.publish([RESULT]) == [Stored.REPEAT]
    assert await rig.desk("acme").result(JOB.id) == RESULT
    assert await rig.queue.take(BULK, 10, 0.1) == []


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), AssertionError()], ids=repr)
async def test_a_reconnect_that_meets_what_nobody_expects_is_tried_again(
    rig: JetStreamRig, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """nats-py ends its only attempt there, and the connection would neither come back nor be given up."""
    reconnect, errors = Client._attempt_reconnect, [error]

    async def reconnecting(self: Client) -> None:
        if errors:
            raise errors.pop()
        await reconnect(self)

    monkeypatch.setattr(Client, "_attempt_reconnect", reconnecting)
    await asyncio.to_thread(own_server.stop)
    await asyncio.to_thread(own_server.start)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await _tried(rig.queue.publish([RESULT]))) is None:
            pass
    assert errors == []


@pytest.mark.proves("A process can stop while its NATS server is frozen", how="real")
async def test_a_connection_to_a_frozen_server_can_be_closed_whatever_is_left_to_be_sent(
    own_server: EmbeddedServer,
) -> None:
    connection = await connect(own_server.url, timeout_seconds=1.0)
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(QueueUnavailable):
            await connection.exchange([Message(f"jobs.bulk.acme{number}", bytes(900_000)) for number in range(16)])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await connection.close()
    finally:
        os.kill(own_server.pid, signal.SIGCONT)


async def test_half_a_message_of_the_connection_before_is_no_part_of_the_next_one(rig: JetStreamRig) -> None:
    """Whoever writes may notice the break before the one who reads has handed on what had come by then."""
    client = rig.connection.nats
    await client._process_op_err(OSError("the connection broke"))
    await client._ps.parse(b"MSG _INBOX.x 1 100000\r\nhalf of it")

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await _tried(rig.queue.publish([RESULT]))) is None:
            pass
    assert client.stats["reconnects"] == 1


async def _tried(step: Coroutine[Any, Any, Sequence[Stored]]) -> Sequence[Stored] | None:
    try:
        return await step
    except QueueUnavailable:
        return None


async def test_a_transport_that_is_closed_already_is_a_broker_that_is_away(
    rig: JetStreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(self: Client, force_flush: bool = False) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    monkeypatch.setattr(Client, "_flush_pending", closed)

    for step in (rig.queue.publish([RESULT]), rig.queue.take(BULK, 1, 0.1), rig.queue.depths()):
        with pytest.raises(QueueUnavailable):
            await step
    monkeypatch.undo()


async def _until_available(step: Coroutine[Any, Any, None]) -> None:
    """An operation begun during an outage waits for the broker."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await step


async def test_an_operation_that_the_broker_does_not_answer_in_time_is_unavailable(own_server: EmbeddedServer) -> None:
    connection = await connect(own_server.url, timeout_seconds=0.2)
    await asyncio.to_thread(own_server.stop)

    with pytest.raises(QueueUnavailable):
        await JetStreamQueue(connection).depths()
    with pytest.raises(QueueUnavailable):
        await JetStreamQueue(connection).publish([RESULT])
    await connection.close()


async def test_a_broker_without_the_streams_is_unavailable(own_server: EmbeddedServer) -> None:
    connection = await connect(own_server.url)
    queue, desk = JetStreamQueue(connection), JetStreamDesk(connection, "acme")

    for step in (
        queue.take(BULK, 1, 0),
        queue.publish([RESULT]),
        queue.depths(),
        desk.submit([JOB]),
        desk.result(JOB.id),
    ):
        with pytest.raises(QueueUnavailable):
            await step
    await connection.close()


async def test_a_consumer_that_was_deleted_is_made_anew(rig: JetStreamRig) -> None:
    await rig.desk("acme").submit([JOB])
    assert await rig.queue.take(JobsOf(Lane.STANDARD), 1, 0) == []
    js = rig.connection.nats.jetstream()
    await js.delete_consumer("JOBS", "standard")

    assert await rig.queue.take(JobsOf(Lane.STANDARD), 1, 0) == []
    assert len(await rig.queue.take(BULK, 1, PATIENCE_SECONDS)) == 1


async def test_what_is_published_to_a_lane_nobody_serves_is_refused(rig: JetStreamRig) -> None:
    with pytest.raises(QueueUnavailable):
        await rig.inject("jobs.express.acme", b"{}")


async def test_a_message_beyond_the_limit_of_its_stream_is_refused_and_its_neighbours_are_not(
    rig: JetStreamRig,
) -> None:
    js = rig.connection.nats.jetstream()
    await js.update_stream((await js.stream_info("DEAD")).config.evolve(max_msg_size=1000))
    messages = [Message("dead.acme", b"x" * size) for size in (900, 1100, 800)]

    assert await store(rig.connection, messages) == [Stored.NEW, Stored.REFUSED, Stored.NEW]


async def test_headers_beyond_the_limit_of_the_broker_are_refused(rig: JetStreamRig) -> None:
    messages = [Message("dead.acme", b"{}", {"note": "x" * size}) for size in (10, 70_000)]

    assert await store(rig.connection, messages) == [Stored.NEW, Stored.REFUSED]


async def test_the_limit_of_the_broker_is_for_headers_and_body_together(rig: JetStreamRig) -> None:
    limit = rig.connection.max_message_bytes
    headers = {"note": "y" * 100}
    room = limit - Message("dead.acme", b"", headers).size_bytes
    messages = [Message("dead.acme", b"x" * size, headers) for size in (room, room + 1)]

    assert await store(rig.connection, messages) == [Stored.NEW, Stored.REFUSED]


async def test_a_full_stream_is_only_unavailable(rig: JetStreamRig) -> None:
    js = rig.connection.nats.jetstream()
    await js.update_stream((await js.stream_info("JOBS")).config.evolve(max_msgs=1))
    messages = [Message("jobs.bulk.acme", b"{}")] * 2

    with pytest.raises(QueueUnavailable):
        await store(rig.connection, messages)


async def test_a_job_too_large_for_the_broker_is_invalid_and_its_neighbours_are_stored(rig: JetStreamRig) -> None:
    js = rig.connection.nats.jetstream()
    await js.update_stream((await js.stream_info("JOBS")).config.evolve(max_msg_size=2000))
    large = replace(JOB, id="large-0123456789", request={"messages": [{"role": "user", "content": "x" * 3000}]})

    with pytest.raises(InvalidJob, match=r"^body: "):
        await rig.desk("acme").submit([large, JOB])
    assert [delivery.body.id for delivery in await rig.queue.take(BULK, 10, PATIENCE_SECONDS)] == [JOB.id]


async def test_a_broker_that_is_not_there_is_unavailable_and_its_password_not_shown() -> None:
    with pytest.raises(QueueUnavailable, match=r"nats://127\.0\.0\.1:9") as raised:
        await connect("nats://ada:secret@127.0.0.1:9", timeout_seconds=0.2)

    assert "secret" not in str(raised.value)


async def test_a_connection_given_up_for_good_is_reported_once_and_closing_it_is_not(
    own_server: EmbeddedServer,
) -> None:
    closed: list[str] = []
    given_up = await connect(own_server.url, on_closed=lambda: closed.append("given up"))
    closed_by_us = await connect(own_server.url, on_closed=lambda: closed.append("closed by us"))

    await closed_by_us.close()
    await given_up.nats.close()

    assert closed == ["given up"]
    with pytest.raises(QueueUnavailable):
        await JetStreamQueue(given_up).depths()


async def test_a_desk_belongs_to_a_tenant_that_is_one_subject_token(own_server: EmbeddedServer) -> None:
    with pytest.raises(ConfigError, match="tenant"):
        await JetStreamDesk.connect(own_server.url, "acme.>")
