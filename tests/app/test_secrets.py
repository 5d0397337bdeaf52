"""Planted keys and planted words, a dispatcher with every log switched on, providers that quote back what they were
sent: afterwards everything the fleet has written anywhere is searched."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Manner, Scripted
from otlp_sink import OtlpSink
from patient_client import PatientClient

from fleet.app import apply_topology
from fleet.model.attempt import Failure, FailureKind
from fleet.model.result import Result, Status
from fleet.settings.environment import load
from queues.jetstream.client.connection import connect
from queues.server.embedded import EmbeddedServer

pytestmark = pytest.mark.e2e

# None of them looks like a key, so that nothing that blanks what does can be what hides them.
KEYS = {
    "OPENAI_API_KEY": "plantedfleetkey_openai",
    "ANTHROPIC_API_KEY": "plantedfleetkey_anthropic",
    "GROQ_API_KEY": "plantedfleetkey_groq",
    "FLEET_KEY_OPENAI_acme__main": "plantedtenantkey_openai",
    "FLEET_KEY_ANTHROPIC_acme__main": "plantedtenantkey_anthropic",
    "FLEET_KEY_GROQ_acme__main": "plantedtenantkey_groq",
}
PASSWORD = "plantedpassword"
PROMPT = "zebraquartz"
ANSWER = "walrusbasalt"
SECRETS = (*KEYS.values(), PASSWORD)
TARGETS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet", "groq": "groq-gpt-oss-20b"}
CONTENT = {
    "JOBS": {PROMPT},
    "WORK": {PROMPT, ANSWER},
    "DEAD": {PROMPT, ANSWER},
    "RESULTS": {ANSWER},
}
"""Which streams may hold what a tenant wrote and was answered; no other output may hold any."""

SHUT_SECONDS = 300.0
"""How long the shipped rules leave a target alone that refuses the fleet's key (`breaker.max_seconds`)."""

KINDS_OF_TROUBLE = {
    FailureKind.AUTHENTICATION,
    FailureKind.CONNECTION,
    FailureKind.INVALID_REQUEST,
    FailureKind.MALFORMED,
    FailureKind.RATE_LIMITED,
    FailureKind.SERVER_ERROR,
    FailureKind.TIMEOUT,
}


class LockedServer(EmbeddedServer):
    """A broker that asks for a password."""

    def _config(self) -> str:
        return json.dumps({**json.loads(super()._config()), "authorization": {"user": "fleet", "password": PASSWORD}})

    @property
    def url(self) -> str:
        return super().url.replace("//", f"//fleet:{PASSWORD}@")


@pytest.fixture
def broker(tmp_path: Path):
    with LockedServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def environment(broker: LockedServer) -> dict[str, str]:
    return {
        **KEYS,
        **{f"{vendor}_LOG": "debug" for vendor in ("OPENAI", "ANTHROPIC", "GROQ")},
        "FLEET_LOG_LEVEL": "debug",
        "FLEET_NATS_URL": broker.url,
    }


@pytest.fixture
async def client(broker: LockedServer) -> AsyncIterator[PatientClient]:
    await apply_topology(broker.url)
    async with PatientClient.connect(broker.url, tenant="acme") as connected:
        yield connected


async def job(client: PatientClient, provider: str, **options: Any) -> Result:
    messages = [{"role": "user", "content": f"Say something about {PROMPT}."}]
    request = {"model": TARGETS[provider], "messages": messages}
    options = {"deadline_seconds": SHUT_SECONDS / 2, **options}  # no job waits until a refused key is tried again
    return await client.run(task="classify.intent", request=request, cloud=[provider], **options)


async def all_that_can_happen(client: PatientClient, fault_server: FaultServer) -> list[Result]:
    """Every provider answers, refuses, limits, breaks off and talks nonsense; with the fleet's key and the tenant's."""
    fault_server.answer = f"Something about {ANSWER}."
    results = []
    for provider in TARGETS:
        for own in ({}, {"plan": "own_key", "own_key": f"{provider}/main"}):
            results.append(await job(client, provider, **own))
            for reply in (
                *(Scripted(status, echo=True) for status in (200, 400, 413, 422)),
                Scripted(302, headers={"Location": f"{fault_server.url}/{PROMPT}"}, echo=True),
                Scripted(manner=Manner.CUT, echo=True),
                *(
                    Scripted(status, echo=True) for status in (401, 403, 404)
                ),  # these shut the target for the fleet's key
            ):
                fault_server.script(reply)
                results.append(await job(client, provider, **own))
                fault_server.forget()
    for replies in ([Scripted(429, echo=True, headers={"Retry-After": "0"})], [Scripted(500, echo=True)] * 5):
        fault_server.script(*replies)
        results.append(await job(client, "openai", plan="own_key", own_key="openai/main"))
        fault_server.forget()
    results += await timed_out(client, fault_server)
    results.append(await job(client, "openai", plan="own_key", own_key="openai/nobodys"))
    return results


async def timed_out(client: PatientClient, fault_server: FaultServer) -> list[Result]:
    """Jobs until the call of one has begun before its deadline, which on a slow machine takes a longer one."""
    results: list[Result] = []
    while FailureKind.TIMEOUT not in {failure.kind for failure in failures_of(results)}:
        fault_server.script(*[Scripted(manner=Manner.HELD)] * 3)
        seconds = 1.5 * 2 ** len(results)
        results.append(await job(client, "groq", plan="own_key", own_key="groq/main", deadline_seconds=seconds))
        fault_server.forget()
    return results


def failures_of(results: list[Result]) -> list[Failure]:
    return [a.outcome for result in results for a in result.attempts if isinstance(a.outcome, Failure)]


async def malformed(url: str) -> None:
    """A body that is no job holds what its publisher put there; it comes back as a dead letter and in no other way."""
    connection = await connect(url)
    bad = json.dumps({"id": "job-0123456789ab", "task": 5, "request": {"messages": [{"content": PROMPT}]}}).encode()
    await connection.nats.jetstream().publish("jobs.interactive.acme", bad)
    await connection.nats.jetstream().publish("jobs.interactive.acme", PROMPT.encode())
    await connection.close()


async def streams(url: str) -> dict[str, str]:
    """All that lies in every stream: subjects, headers and bodies."""
    connection = await connect(url)
    js = connection.nats.jetstream()
    found = {}
    for info in await js.streams_info():
        name, state = info.config.name, info.state
        texts = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                message = await js.get_msg(name, sequence)
            except Exception:  # acknowledged or replaced meanwhile
                continue
            texts.append(f"{message.subject} {message.headers} {(message.data or b'').decode(errors='replace')}")
        found[name] = "\n".join(texts)
    await connection.close()
    return found


async def command(environment: dict[str, str], *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleet.cli", *words),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


@asynccontextmanager
async def traced(environment: dict[str, str]) -> AsyncIterator[OtlpSink]:
    with OtlpSink() as sink:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink.url
        yield sink


async def test_no_output_holds_a_key_and_only_the_streams_of_jobs_hold_content(
    client, broker, plain_dispatcher, fault_server, environment, monkeypatch
):
    environment["FLEET_GROQ_BASE_URL"] = fault_server.base_urls["groq"]
    async with traced(environment) as sink, plain_dispatcher(**environment) as process:
        results = await all_that_can_happen(client, fault_server)
        await malformed(broker.url)
        await client.wait("job-0123456789ab")
        shown = await command(environment, "status", "--json") + await command(environment, "status")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load()
    stored = await streams(broker.url)
    outputs = {
        **stored,
        "logs": process.logs,
        "traces": "\n".join(map(str, sink.all_spans())),
        "status": shown,
        "settings": f"{settings!r} {settings}",
        "results": "\n".join(map(repr, results)),
    }

    _exercised(results, outputs, fault_server)
    for name, text in outputs.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} in {name}"
    for name, text in outputs.items():
        for word in {PROMPT, ANSWER} - CONTENT.get(name, {ANSWER} if name == "results" else set()):
            assert word not in text, f"{word} in {name}"


def _exercised(results: list[Result], outputs: dict[str, str], fault_server: FaultServer) -> None:
    """The search would find something, were it there."""
    sent = "\n".join(f"{received.headers} {received.body}" for received in fault_server.received)
    assert all(key in sent for key in KEYS.values())
    assert PROMPT in sent
    assert {result.status for result in results} >= {Status.SUCCEEDED, Status.FAILED}
    assert {failure.kind for failure in failures_of(results)} >= KINDS_OF_TROUBLE
    assert ANSWER in outputs["RESULTS"]
    assert PROMPT in outputs["DEAD"]
    assert 'name: "chat ' in outputs["traces"]
    assert "dispatcher_started" in outputs["logs"]
    assert "nats_url" in outputs["status"]
    assert len(outputs["LEDGER"].splitlines()) >= len(results)
