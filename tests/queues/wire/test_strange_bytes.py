"""Whatever bytes a publisher puts into a subject or a header, everybody else is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from patience import PATIENCE_SECONDS
from queue_rigs import JetStreamRig, jetstream_rig
from raw_nats import pub, publish

from fleet.model.delivery import Ack, Depths, JobsOf, Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Malformed, Result, Status
from queues.jetstream.client.client import TolerantParser
from queues.server.embedded import EmbeddedServer

BULK = JobsOf(Lane.BULK)
GOOD = b'{"id": "job-0123456789ab", "task": "nudge", "request": {"messages": [{"role": "user", "content": "Hi"}]}}'
RESULT = Result("job-0123456789ab", "acme", Status.SUCCEEDED, Reason.CONFIDENT, 5.0)


@pytest.fixture
async def rig(own_server: EmbeddedServer) -> AsyncIterator[JetStreamRig]:
    async with AsyncExitStack() as stack:
        yield await jetstream_rig(stack, own_server.url, ack_wait_seconds=30.0)


@pytest.mark.parametrize("tenant", [b"a\xffb", b"a\x0cb", b"a\x0bb", b"\xc3\xbc", b"a\x00b", b"t" * 2000, b"a\x85b"])
async def test_a_subject_of_any_bytes_is_malformed_and_its_neighbours_are_jobs(
    rig: JetStreamRig, own_server: EmbeddedServer, tenant: bytes
) -> None:
    await publish(own_server.url, pub(b"jobs.bulk." + tenant, GOOD), pub(b"jobs.bulk.good", GOOD))

    bad, good = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert isinstance(bad.body, Malformed)
    assert (bad.body.tenant, bad.body.problem.field, bad.body.body) == ("invalid", "subject", GOOD)
    assert isinstance(good.body, Job)
    assert await _answer(rig, bad.body) == [Stored.NEW, Stored.NEW]
    await rig.queue.settle([Ack(bad), Ack(good)])
    assert await rig.queue.take(BULK, 10, 0) == []
    assert rig.connection.nats.stats["reconnects"] == 0


@pytest.mark.parametrize("tenant", [b"a\xffb", b"a\x0cb", b"\xc3\xbc", b"a\x00b", b"t" * 2000, b"a\x85b"])
async def test_a_tenant_of_any_bytes_is_served_as_the_reading_tells_it(
    rig: JetStreamRig, own_server: EmbeddedServer, tenant: bytes
) -> None:
    await publish(own_server.url, pub(b"jobs.bulk.good", GOOD), pub(b"jobs.bulk." + tenant, GOOD))

    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(waiting := (await rig.queue.depths()).jobs) < 2:  # nobody confirms these two
            pass
    [strange] = [source for source in waiting if source.tenant != "good"]
    [bad] = await rig.queue.take(strange, 10, 0)
    await rig.queue.extend([bad])
    assert isinstance(bad.body, Malformed)
    assert (bad.body.tenant, bad.body.problem.field, bad.body.body) == ("invalid", "subject", GOOD)
    assert await _answer(rig, bad.body) == [Stored.NEW, Stored.NEW]
    await rig.queue.settle([Ack(bad)])

    assert list((await rig.queue.depths()).jobs) == [JobsOf(Lane.BULK, "good")]
    assert await rig.queue.take(strange, 10, 0) == []


async def _answer(rig: JetStreamRig, bad: Malformed) -> list[Stored]:
    rejected = Result(bad.job_id, bad.tenant, Status.REJECTED, Reason.INVALID, 5.0, problem=bad.problem)
    dead = DeadLetter(bad.tenant, bad.job_id, Reason.INVALID, bad.problem, bad.body, 5.0)
    return list(await rig.queue.publish([rejected, dead]))


@pytest.mark.parametrize(
    "headers",
    [
        b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        b"NATS/1.0 404 \xff\xff\r\n\r\n",
        b"NATS/1.0 100 \xff\xff\r\ntraceparent: x\r\n\r\n",
        b"NATS/1.0",
        b"NATS/1.0\r\n\xff: \xfe\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"\xff",
    ],
)
async def test_headers_of_any_bytes_hinder_nobody(
    rig: JetStreamRig, own_server: EmbeddedServer, headers: bytes
) -> None:
    await publish(own_server.url, pub(b"jobs.bulk.acme", GOOD, headers), pub(b"jobs.bulk.good", GOOD))

    deliveries = await rig.queue.take(BULK, 10, PATIENCE_SECONDS)

    assert [delivery.body.tenant for delivery in deliveries] == ["acme", "good"]
    assert rig.connection.nats.stats["reconnects"] == 0


async def test_a_listener_hears_on_after_a_result_of_any_bytes(rig: JetStreamRig, own_server: EmbeddedServer) -> None:
    results = rig.desk("acme").results()
    heard = asyncio.ensure_future(anext(results))
    # Whoever listens has subscribed by the time an empty take on the same connection returns.
    assert await rig.queue.take(BULK, 1, 0.05) == []

    await publish(
        own_server.url,
        pub(b"results.acme.a\xffb", b"{}"),
        pub(b"results.acme.a\x0cb", b"{}", reply=b"r\xff\x0b"),
        pub(b"results.acme.a", b"{}", b"NATS/1.0 \xff\xff\xff\r\n\r\n", reply=b"\xff"),
    )
    await rig.queue.publish([RESULT])

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await heard == RESULT
    assert rig.connection.nats.stats["reconnects"] == 0


async def test_a_connection_nobody_reads_any_more_is_made_anew(
    rig: JetStreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the reading: here a fault in the handling of one message."""
    nats = rig.connection.nats
    process, faults = nats._process_msg, [RuntimeError("a fault")]

    async def faulty(*message: Any) -> None:
        if faults:
            raise faults.pop()
        await process(*message)

    monkeypatch.setattr(nats, "_process_msg", faulty)

    with pytest.raises(QueueUnavailable):
        await rig.queue.depths()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await rig.queue.depths() == Depths()
    assert nats.stats["reconnects"] == 1


class Heard:
    """What a parser hands on."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []
        self.words: list[str] = []

    async def _process_msg(self, *message: Any) -> None:
        self.messages.append(message)

    async def _process_ping(self) -> None:
        self.words.append("ping")

    async def _process_pong(self) -> None:
        self.words.append("pong")

    async def _process_err(self, error: str) -> None:
        self.words.append(error)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.words.append(info["server_id"])


TOKEN = st.binary(min_size=1, max_size=9).filter(lambda token: not set(token) & set(b" \t\r\n"))
MESSAGES = st.lists(st.tuples(TOKEN, st.integers(1, 99), st.just(b"") | TOKEN, st.binary(), st.binary()), max_size=5)


def wire(message: tuple[bytes, int, bytes, bytes, bytes]) -> bytes:
    subject, sid, reply, payload, headers = message
    sizes = [len(headers), len(headers + payload)] if headers else [len(payload)]
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid, *([reply] if reply else [])]
    return b" ".join([*words, *(b"%d" % size for size in sizes)]) + b"\r\n" + headers + payload + b"\r\n"


@given(MESSAGES, st.integers(1, 40))
async def test_every_message_arrives_whole_however_the_stream_is_cut(
    sent: list[tuple[bytes, int, bytes, bytes, bytes]], step: int
) -> None:
    heard = Heard()
    parser = TolerantParser(heard)
    stream = b"PING\r\n".join(wire(message) for message in sent)

    for start in range(0, len(stream), step):
        await parser.parse(stream[start : start + step])

    assert heard.messages == [(sid, subject, reply, payload, headers) for subject, sid, reply, payload, headers in sent]
    assert heard.words == ["ping"] * max(0, len(sent) - 1)


async def test_every_operation_of_a_server_is_understood() -> None:
    heard = Heard()

    await TolerantParser(heard).parse(
        b'INFO {"server_id":"S"}\r\n+OK\r\nPING\r\nPONG\r\n'
        b"-ERR 'Permissions Violation for \"a\xff\"'\r\n"
        b"MSG\ta 1  2\r\nhi\r\n"
    )

    assert heard.words == ["S", "ping", "pong", "'permissions violation for \"a\\xff\"'"]
    assert heard.messages == [(1, b"a", b"", b"hi", b"")]


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO",
        b"",
        b"MSG a",
        b"MSG a b c d e",
        b"MSG a one 2",
        b"HMSG a 1 2",
        b"msg a 1 2",
        b"MSG a 1 -4",
        b"HMSG a 1 3 2",
    ],
)
async def test_what_no_server_says_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await TolerantParser(Heard()).parse(line + b"\r\n")
