"""The same request through the five doors is five jobs, each with one id, one trace and one line of accounts."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from patience import PATIENCE_SECONDS, eventually
from typer.testing import CliRunner

from fleet.app import SystemClock, apply_topology
from fleet.app.batches import run_settings
from fleet.batches.runner import BatchRunner
from fleet.cli.commands import app
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.runner.cost_reservations import alerts
from fleet.dispatch.state.knowledge import Learned
from fleet.gateway.serving import serving
from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.call import Call
from fleet.model.result import LedgerEntry
from fleet.model.span import Sampling, Span, trace_id_of
from fleet.settings.documents import load_rules
from fleet.settings.environment import load
from fleet.telemetry.story import spans_of
from queues.batches import EveryBatch, JetStreamShelf
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.load import JetStreamLoads
from queues.jetstream.stores.spend import CellSpendBook
from queues.server.embedded import EmbeddedServer
from queues.wire.ledger import decode_ledger

TENANT = "acme"
TASK = "classify.sentiment"
TARGET = "gpt-4o"
METADATA = {"user": "u-17"}
MESSAGES = [{"role": "user", "content": "I love the new calendar."}]
REQUEST = {"model": TARGET, "messages": MESSAGES}
ANSWER = Answer(
    {"role": "assistant", "content": "positive"},
    "stop",
    Usage(1000, 100),
    "instant",
    Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01),
)


class InstantBackend:
    """Answers at once, and keeps the requests that came."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        self.requests += [call.request for call in calls]
        yield [(index, ANSWER) for index in range(len(calls))]

    async def stop(self, ids: Collection[str]) -> None:
        """Do nothing: a call is over before anybody could stop it."""

    async def close(self) -> None:
        pass


@dataclass
class Exported:
    """Keeps what a collector would be sent; see `fleet.ports.Tracer`."""

    sampling: Sampling = field(default_factory=Sampling)
    exports: list[Sequence[LedgerEntry]] = field(default_factory=list)

    def export(self, lines: Sequence[LedgerEntry]) -> None:
        self.exports.append(lines)

    def export_span(self, span: Span) -> None:
        """Micro-batches are nobody's trace."""


@dataclass
class Fleet:
    """A fleet on a broker of its own: an instant target, a gateway, and the process that runs batches."""

    nats_url: str
    connection: Connection
    client: AsyncOpenAI
    backend: InstantBackend
    traces: Exported
    folder: Path

    async def lines(self) -> list[LedgerEntry]:
        js = self.connection.nats.jetstream()
        state = (await js.stream_info("LEDGER")).state
        return [decode_ledger((await js.get_msg("LEDGER", n)).data) for n in range(state.first_seq, state.last_seq + 1)]


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path / "nats"))
        await apply_topology(server.url)
        connection = await connect(server.url)
        stack.push_async_callback(connection.close)
        backend, traces = InstantBackend(), Exported()
        await stack.enter_async_context(_dispatching(connection, backend, traces))
        await stack.enter_async_context(_running_batches(connection))
        for name, value in {"GATEWAY_KEYS": "none", "GATEWAY_PORT": "0", "METRICS_PORT": "0", "TENANT": TENANT}.items():
            monkeypatch.setenv(f"FLEET_{name}", value)
        url = await stack.enter_async_context(serving(load(nats_url=server.url)))
        http = DefaultAsyncHttpxClient(verify=False)
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=None, http_client=http)
        await stack.enter_async_context(client)
        yield Fleet(server.url, connection, client, backend, traces, tmp_path)


@asynccontextmanager
async def _dispatching(connection: Connection, backend: InstantBackend, traces: Exported) -> AsyncIterator[None]:
    rules, clock = load_rules(None, None, "local"), SystemClock()
    spend = CellSpendBook(JetStreamCells(connection), clock, rules.money.open_seconds, alerts(rules.money))
    kept = {"learned": Learned(JetStreamCalibrations(connection)), "cancels": JetStreamCancels(connection)}
    dispatcher = Dispatcher(JetStreamQueue(connection), {TARGET: backend}, rules, clock, traces, spend=spend, **kept)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        await dispatcher.drain()
        await running


@asynccontextmanager
async def _running_batches(connection: Connection) -> AsyncIterator[None]:
    async def announce(batch: object) -> None:
        """Nobody is to be told."""

    batches = EveryBatch(JetStreamShelf(connection))
    chosen = run_settings(load(), JetStreamLoads(connection))
    runner = BatchRunner(batches, lambda tenant: JetStreamDesk(connection, tenant), announce, chosen, 0.05)
    running = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        runner.drain()
        await running


@dataclass(frozen=True)
class Told:
    """What a door told its caller: the job's id, the answer, its target and its price."""

    job_id: str
    content: str | None
    target: str
    cost_usd: float


async def through_nats(fleet: Fleet, traceparent: str) -> Told:
    job_id = secrets.token_hex(16)
    async with await nats.connect(fleet.nats_url) as connection:
        answer = await connection.subscribe(f"results.{TENANT}.{job_id}")
        headers = {"Nats-Msg-Id": f"{TENANT}.{job_id}", "traceparent": traceparent}
        job = {"id": job_id, "task": TASK, "request": REQUEST, "metadata": METADATA}
        await connection.request(
            f"jobs.bulk.{TENANT}", json.dumps(job).encode(), timeout=PATIENCE_SECONDS, headers=headers
        )
        result = json.loads((await answer.next_msg(timeout=PATIENCE_SECONDS)).data)
    return Told(result["id"], result["message"]["content"], result["target"], result["cost_usd"])


async def through_the_command(fleet: Fleet, traceparent: str) -> Told:
    file = fleet.folder / "request.json"
    file.write_text(json.dumps(REQUEST))
    words = ["submit", TASK, "--request", str(file), "--lane", "bulk", "--metadata", "user=u-17", "--wait", "--json"]
    environment = {"FLEET_NATS_URL": fleet.nats_url, "TRACEPARENT": traceparent}
    done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    return Told(result["id"], result["message"]["content"], result["target"], result["cost_usd"])


async def through_chat(fleet: Fleet, traceparent: str) -> Told:
    headers = {"x-fleet-task": TASK, "traceparent": traceparent}
    done = await fleet.client.chat.completions.create(
        **REQUEST, metadata=METADATA, service_tier="flex", extra_headers=headers
    )
    return Told(done.id.removeprefix("chatcmpl-"), done.choices[0].message.content, done.model, done.fleet["cost_usd"])


async def through_responses(fleet: Fleet, traceparent: str) -> Told:
    headers = {"x-fleet-task": TASK, "traceparent": traceparent}
    asked = {"model": TARGET, "input": MESSAGES, "metadata": METADATA, "service_tier": "flex", "background": True}
    begun = await fleet.client.responses.create(**asked, extra_headers=headers)
    ended = await eventually(lambda: _ended(fleet.client.responses.retrieve(begun.id)))
    assert (ended.metadata, ended.status) == (METADATA, "completed")
    return Told(ended.id.removeprefix("resp_"), ended.output_text, ended.model, ended.fleet["cost_usd"])


async def through_batches(fleet: Fleet, traceparent: str) -> Told:
    client = fleet.client
    body = REQUEST | {"metadata": METADATA | {"task": TASK}}
    row = {"custom_id": "row-1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await client.files.create(file=("rows.jsonl", json.dumps(row).encode()), purpose="batch")
    made = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_headers={"traceparent": traceparent},
    )
    ended = await eventually(lambda: _ended(client.batches.retrieve(made.id)))
    assert (ended.status, ended.request_counts.completed) == ("completed", 1)
    output = await client.files.content(ended.output_file_id)
    [line] = [json.loads(each) for each in output.text.splitlines()]
    said = line["response"]["body"]
    return Told(
        said["fleet"]["job_id"], said["choices"][0]["message"]["content"], said["model"], said["fleet"]["cost_usd"]
    )


async def _ended(asking: Any) -> Any:
    found = await asking
    return found if found.status in ("completed", "failed", "expired") else None


DOORS: Mapping[str, Callable[[Fleet, str], Awaitable[Told]]] = {
    "NATS": through_nats,
    "fleet submit": through_the_command,
    "chat": through_chat,
    "responses": through_responses,
    "batches": through_batches,
}


async def test_each_door_gives_one_job_with_one_id_one_trace_and_one_line(fleet: Fleet) -> None:
    publishers = {door: f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01" for door in DOORS}

    told = {door: await enter(fleet, publishers[door]) for door, enter in DOORS.items()}

    await eventually(lambda: len(fleet.traces.exports) >= len(DOORS))  # after result and accounts are stored
    booked = await fleet.lines()
    lines = {line.job_id: line for line in booked}
    assert len(booked) == len(lines) == len(DOORS), "one line of accounts for each job"
    assert {each.job_id for each in told.values()} == lines.keys(), "callers know the ids that the accounts do"
    kept = [await JetStreamDesk(fleet.connection, TENANT).result(job_id) for job_id in lines]
    assert [each.metadata for each in kept] == [METADATA] * len(DOORS)
    exported = [each for [each] in fleet.traces.exports]
    assert sorted(each.job_id for each in exported) == sorted(lines), "one trace for each job"
    traces = {each.job_id: {span.trace_id for span in spans_of([each])} for each in exported}
    for door, each in told.items():
        # A batch may have a million rows, which no trace can hold: each row has one of its own.
        publisher = None if door == "batches" else publishers[door]
        assert traces[each.job_id] == {trace_id_of(publisher, TENANT, each.job_id)}, door
    assert len({(each.content, each.target, each.cost_usd) for each in told.values()}) == 1
    terms = {(line.tenant, line.lane, line.task, line.plan, line.status, line.reason) for line in lines.values()}
    assert len(terms) == 1
    [price] = {line.attempt.cost_usd for line in lines.values()}
    assert price == told["NATS"].cost_usd > 0
    assert all(request == fleet.backend.requests[0] for request in fleet.backend.requests)
