"""`fleet webhooks run` as a process of its own: what it tells, what its death costs, and what rights it needs."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from openai import OpenAI
from patience import eventually
from production_nats import ProductionNats
from webhook_receiver import OK, Received, Receiver, receiving, says

from fleet.app import apply_topology
from fleet.app.batches import _announcing
from fleet.app.local import parts
from fleet.app.webhooks import KEY_FILE, local_key
from fleet.model.batch import Batch, BatchStatus
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.webhook import EventType, ExpectedResponse, WebhookEndpoint, WebhookEvent
from fleet.settings.environment import load
from fleet.webhooks.signing import KEY_VARIABLE, Signer
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.webhooks.endpoints import JetStreamEndpoints
from queues.jetstream.webhooks.events import JetStreamEvents, JetStreamOutbox

pytestmark = pytest.mark.e2e

KEY = base64.b64encode(bytes(32)).decode()
SALT = "ab" * 16
JOB = "job-000000000001"
BATCH = Batch(
    "batch_1", "acme", "/v1/chat/completions", "file-1", 60.0, 1.0, status=BatchStatus.COMPLETED, completed_at=1000.0
)
LEASE_SECONDS = 2.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


def event(number: int = 1) -> WebhookEvent:
    return WebhookEvent("acme", EventType.BATCH_COMPLETED, f"batch_{number}", 1000.0)


def endpoint(url: str) -> WebhookEndpoint:
    return WebhookEndpoint(f"we_{1:024x}", "acme", "nightly", url, frozenset(EventType), SALT, 1.0, 1.0)


@asynccontextmanager
async def connected(url: str, login: Login = ANONYMOUS) -> AsyncIterator[Connection]:
    connection = await connect(url, login=login)
    try:
        yield connection
    finally:
        await connection.close()


async def started(url: str, **more: str) -> asyncio.subprocess.Process:
    ours = {
        "FLEET_NATS_URL": url,
        "FLEET_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "FLEET_LEASE_SECONDS": str(LEASE_SECONDS),
        "FLEET_METRICS_PORT": "0",
        KEY_VARIABLE: KEY,
    }
    command = (sys.executable, "-m", "fleet.cli", "webhooks", "run", "--json")
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=os.environ | ours | more, stdout=pipe, stderr=pipe)


async def ended(process: asyncio.subprocess.Process, by: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(by)
    printed, errors = await process.communicate()
    return printed.decode(), errors.decode()


async def emptied(connection: Connection) -> None:
    feed = JetStreamEvents(connection, LEASE_SECONDS)

    async def is_empty() -> bool:
        return await feed.stored() == 0

    await eventually(is_empty)


def ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.received]


async def test_it_tells_what_happened_and_ends_by_itself(broker, receiver: Receiver) -> None:
    await apply_topology(broker.url)
    async with connected(broker.url) as connection:
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        process = await started(broker.url)
        await _announcing(connection)(BATCH)
        await JetStreamOutbox(connection).announce([ExpectedResponse("acme", JOB, time.time())])
        await eventually(lambda: len(receiver.received) == 1)
        await JetStreamQueue(connection).publish([Result(JOB, "acme", Status.FAILED, Reason.ALL_FAILED, 2000.0)])
        await emptied(connection)
        printed, _ = await ended(process)

    assert json.loads(printed) == {"stopped": True}
    secret = Signer(bytes(32)).secret(endpoint(receiver.url), SALT)
    webhooks = OpenAI(api_key="none", webhook_secret=secret).webhooks
    told = [webhooks.unwrap(request.body, request.headers) for request in receiver.received]
    # On a slow machine a lease may end in an attempt, which is then made again.
    assert list(dict.fromkeys((each.type, each.data.id) for each in told)) == [
        ("batch.completed", "batch_1"),
        ("response.failed", f"resp_{JOB}"),
    ]


async def test_killed_in_the_middle_of_an_attempt_the_next_process_makes_it_again(broker, receiver: Receiver) -> None:
    begun = asyncio.Event()

    async def hang(_: Received, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    receiver.answering = hang
    await apply_topology(broker.url)
    async with connected(broker.url) as connection:
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        await JetStreamOutbox(connection).announce([event()])
        first = await started(broker.url)
        await begun.wait()
        await ended(first, signal.SIGKILL)
        receiver.answering = says(OK)
        second = await started(broker.url)
        await emptied(connection)
        await ended(second)

    assert len(receiver.received) > 1
    assert set(ids(receiver)) == {event().id}


async def test_killed_again_and_again_it_loses_no_event(broker, receiver: Receiver) -> None:
    await apply_topology(broker.url)
    async with connected(broker.url) as connection:
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        await JetStreamOutbox(connection).announce([event(number) for number in range(100)])
        for count in (1, 20, 60):
            process = await started(broker.url)
            await eventually(lambda count=count: len(set(ids(receiver))) >= count)
            await ended(process, signal.SIGKILL)
        process = await started(broker.url)
        await emptied(connection)
        await ended(process)

    assert set(ids(receiver)) == {event(number).id for number in range(100)}


async def test_where_the_schedule_stands_outlives_the_process_and_the_broker(broker, receiver: Receiver) -> None:
    receiver.answering = says(b"HTTP/1.1 429 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")
    await apply_topology(broker.url)
    async with connected(broker.url) as connection:
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        await JetStreamOutbox(connection).announce([event()])
        process = await started(broker.url)
        await eventually(lambda: receiver.received)
        await ended(process)
    broker.stop()
    broker.start()

    async with connected(broker.url) as connection:
        process = await started(broker.url)
        await JetStreamOutbox(connection).announce([ExpectedResponse("beta", JOB, 1000.0)])  # given up at once: too old
        feed = JetStreamEvents(connection, LEASE_SECONDS)

        async def waits_alone() -> bool:
            return await feed.stored() == 1

        await eventually(waits_alone)
        await ended(process)
        assert await feed.waiting("acme", endpoint(receiver.url).id) == 1

    assert len(receiver.received) == 1


async def test_it_has_the_rights_it_needs_on_a_production_broker(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answering = says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(ProductionNats(tmp_path, options=("--sync", "2m")))
        operator, login = servers.login("operator"), servers.login("webhooks")
        await apply_topology(servers.url, operator)
        connection = await stack.enter_async_context(connected(servers.url, operator))
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        await JetStreamQueue(connection).publish([Result(JOB, "acme", Status.FAILED, Reason.ALL_FAILED, 2000.0)])
        assert login.user is not None and login.password is not None
        process = await started(servers.url, FLEET_NATS_USER=login.user, FLEET_NATS_PASSWORD=login.password)
        await JetStreamOutbox(connection).announce([ExpectedResponse("acme", JOB, 1000.0)])
        await emptied(connection)
        _, errors = await ended(process)
        [left] = await JetStreamEndpoints(connection).list("acme")

    assert "Permissions Violation" not in errors
    assert left.ended_at is not None
    assert {json.loads(request.body)["type"] for request in receiver.received} == {"response.failed"}


async def test_without_its_key_it_says_which_variable_is_missing(broker) -> None:
    process = await started(broker.url, **{KEY_VARIABLE: ""})
    printed, _ = await process.communicate()
    assert process.returncode == 1
    assert KEY_VARIABLE in json.loads(printed)["error"]


async def test_a_fleet_on_this_machine_keeps_one_key_for_its_owner_alone(
    broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setenv("FLEET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLEET_WEBHOOK_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv(KEY_VARIABLE, "")  # so that it is as it was afterwards
    monkeypatch.delenv(KEY_VARIABLE)
    await apply_topology(broker.url)
    settings = load()
    async with connected(broker.url) as connection:
        assert await JetStreamEndpoints(connection).put(endpoint(receiver.url), 0)
        with (tmp_path / "lock").open("w") as lock:
            process = parts.webhooks(settings, broker.url, lock.fileno())
            await process.start()
        await JetStreamOutbox(connection).announce([event()])
        await emptied(connection)
        await process.stop()

    key = settings.data_dir / KEY_FILE
    assert (key.stat().st_mode & 0o777, local_key(settings.data_dir)) == (0o600, os.environ[KEY_VARIABLE])
    secret = Signer.from_environment(os.environ).secret(endpoint(receiver.url), SALT)
    request = receiver.received[0]
    assert OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(request.body, request.headers).id == event().id
