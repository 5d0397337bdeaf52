"""A dispatcher without Ray: a plain process with cloud targets, the providers' own SDKs, and real NATS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from fault_server import Scripted
from patient_client import PatientClient

from fleet.app import apply_topology
from fleet.model.attempt import FailureKind
from fleet.model.reason import Reason
from fleet.model.result import Status

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
async def client(broker):
    await apply_topology(broker.url)
    async with PatientClient.connect(broker.url, tenant="acme") as connected:
        yield connected


async def test_a_job_is_answered_by_the_first_rung_at_the_catalogues_price(client, plain_dispatcher, fault_server):
    async with plain_dispatcher():
        result = await client.run(task="classify.intent", messages=MESSAGES)
    assert (result.status, result.target) == (Status.SUCCEEDED, "gpt-4o-mini")
    assert result.answer.message["content"] == fault_server.answer
    assert result.cost_usd > 0
    [received] = fault_server.received
    assert received.body["messages"] == MESSAGES


async def test_a_limit_is_waited_for_and_costs_one_request_each(client, plain_dispatcher, fault_server):
    fault_server.script(Scripted(429, headers={"Retry-After": "0"}))
    async with plain_dispatcher():
        result = await client.run(task="classify.intent", messages=MESSAGES)
    assert [a.reason for a in result.attempts] == [Reason.ROUTED, Reason.RETRY]
    assert result.attempts[0].outcome.kind is FailureKind.RATE_LIMITED
    assert len(fault_server.received) == 2


async def test_a_provider_that_refuses_for_good_is_left_for_the_next(client, plain_dispatcher, fault_server):
    fault_server.script(Scripted(401), Scripted(401))
    async with plain_dispatcher():
        result = await client.run(task="classify.intent", messages=MESSAGES)
    assert [a.target for a in result.attempts] == ["gpt-4o-mini", "gpt-4o", "claude-sonnet"]
    assert (result.status, result.target) == (Status.SUCCEEDED, "claude-sonnet")


async def test_a_job_that_must_stay_inside_ends_with_a_reason_and_no_request(client, plain_dispatcher, fault_server):
    async with plain_dispatcher():
        result = await client.run(task="classify.intent", messages=MESSAGES, cloud="deny")
    assert (result.status, result.reason) == (Status.FAILED, Reason.NO_TARGET)
    assert fault_server.received == []


@pytest.mark.proves("A stopped dispatcher finishes its running job", how="real")
async def test_a_stop_lets_the_running_job_finish(client, plain_dispatcher, fault_server):
    from fault_server import Manner

    fault_server.script(Scripted(manner=Manner.HELD))
    async with plain_dispatcher() as process:
        answer = asyncio.create_task(client.run(task="classify.intent", messages=MESSAGES))
        await fault_server.until(received=1)
        process.send_signal(signal.SIGTERM)
        fault_server.release()
        result = await answer
        await process.wait()
    assert result.status is Status.SUCCEEDED
    assert process.returncode == 0


@pytest.mark.proves("Neither a key nor a prompt reaches the log", how="real", subject="Security")
async def test_neither_the_key_nor_the_prompt_reaches_the_log(client, plain_dispatcher, fault_server):
    fault_server.script(Scripted(400, body={"error": {"message": "bad key sk-invented-for-tests-0123456789: France"}}))
    async with plain_dispatcher() as process:
        await client.run(task="classify.intent", messages=MESSAGES)
    assert "dispatcher_started" in process.logs
    assert "sk-invented" not in process.logs
    assert "France" not in process.logs


async def complaint_without_keys(nats_url):
    """The one line with which a dispatcher without any key ends."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleet.cli", "dispatcher", "--nats-url", nats_url),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    [line] = errors.decode().splitlines()
    return line


async def test_a_dispatcher_without_any_target_says_which_variable_to_set(broker):
    assert "OPENAI_API_KEY" in await complaint_without_keys(broker.url)


async def test_a_dispatcher_without_broker_and_target_names_the_broker_first():
    line = await complaint_without_keys("nats://127.0.0.1:1")
    assert "nothing listens at nats://127.0.0.1:1" in line
    assert "OPENAI_API_KEY" not in line


async def test_a_tenants_own_key_serves_that_tenant_alone_and_costs_the_fleet_nothing(
    client, broker, plain_dispatcher, fault_server
):
    keys = {"OPENAI_API_KEY": "", "FLEET_KEY_OPENAI_acme__main": "sk-invented-key-of-acme-0123456789"}
    own = {"plan": "own_key", "own_key": "openai/main", "request": {"model": "gpt-4o", "messages": MESSAGES}}
    async with plain_dispatcher(**keys), PatientClient.connect(broker.url, tenant="beta") as beta:
        mine = await client.run(task="classify.intent", **own)
        theirs = await beta.run(task="classify.intent", **own)
        paid = await client.run(task="classify.intent", messages=MESSAGES, cloud=["openai"])
    assert (mine.status, mine.target, mine.cost_usd) == (Status.SUCCEEDED, "gpt-4o", 0.0)
    assert theirs.status is Status.FAILED
    assert (paid.status, paid.reason) == (Status.FAILED, Reason.NO_TARGET)
    [received] = fault_server.received
    assert received.headers["authorization"] == "Bearer sk-invented-key-of-acme-0123456789"
