"""The gateway as a process serves it: to a real broker, across the death of everything, with TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from memory_fleet import MemoryFleet
from openai import AsyncOpenAI
from queue_rigs import jetstream_rig

from fleet.app import apply_topology
from fleet.client import FleetClient
from fleet.gateway.serving import serving
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.settings.environment import Settings, load
from queues.server.config import servers_at
from queues.server.dev_ca import write_certificates
from queues.server.embedded import EmbeddedServer

ASKED = {"model": "auto", "input": "I love the new calendar."}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hasty_connections: None) -> Settings:
    for name in os.environ:
        if name.startswith("FLEET_"):
            monkeypatch.delenv(name)
    shown = {"gateway_port": 0, "gateway_keys": "none", "metrics_port": 0}
    return load(data_dir=tmp_path, tenant="acme", nats_url="nats://127.0.0.1:9", **shown)


def at(settings: Settings, nats_url: str) -> Settings:
    return settings.model_copy(update={"nats_url": nats_url})


def openai(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=None)


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedServer, MemoryFleet]]:
    """A broker, and what answers each job with its prompt, but not yet."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path / "nats"))
        rig = await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)
        await apply_topology(server.url)
        fleet = MemoryFleet()
        fleet.queue = rig.queue
        yield server, fleet


async def test_one_job_is_the_same_for_every_door(
    settings: Settings, answering: tuple[EmbeddedServer, MemoryFleet]
) -> None:
    server, fleet = answering
    async with fleet.running(), serving(at(settings, server.url)) as url, openai(url) as client:
        chat = await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hello"}])
        response = await client.responses.create(**ASKED)
        assert (chat.choices[0].message.content, response.output_text) == ("hello", ASKED["input"])
        async with FleetClient.connect(server.url, tenant="acme") as ours:
            for job_id in (chat.fleet["job_id"], response.fleet["job_id"]):
                assert (await ours.wait(job_id)).target == "llama-8b"


async def test_a_response_in_the_background_outlives_every_process(
    settings: Settings, answering: tuple[EmbeddedServer, MemoryFleet]
) -> None:
    server, fleet = answering
    async with serving(at(settings, server.url)) as url, openai(url) as client:
        stream = await client.responses.create(**ASKED, background=True, stream=True)
        first = [await anext(stream), await anext(stream)]
        await stream.close()
    async with serving(at(settings, server.url)) as url, openai(url) as client:
        response_id = first[0].response.id
        assert (await client.responses.retrieve(response_id)).status == "queued"
        async with fleet.running():
            rest = await client.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number)
            events = [*first, *[each async for each in rest]]
        assert [each.sequence_number for each in events] == list(range(10))
        assert (await client.responses.retrieve(response_id)).output_text == ASKED["input"]


async def test_ready_is_a_gateway_whose_queue_answers(
    settings: Settings, answering: tuple[EmbeddedServer, MemoryFleet]
) -> None:
    server, _ = answering
    async with serving(at(settings, server.url)) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/readyz")).status_code == 200
        server.stop()
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200


async def test_it_serves_tls_with_a_certificate_of_its_own(
    settings: Settings, answering: tuple[EmbeddedServer, MemoryFleet], tmp_path: Path
) -> None:
    server, _ = answering
    write_certificates(tmp_path / "tls", servers_at(["127.0.0.1"]))
    chain, key = (tmp_path / "tls" / f"nats-1{ending}.pem" for ending in ("", "-key"))
    paths = {"gateway_tls_cert_path": chain, "gateway_tls_key_path": key}
    trusting = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")
    async with serving(at(settings, server.url).model_copy(update=paths)) as url:
        assert url.startswith("https://")
        async with httpx.AsyncClient(base_url=url, verify=trusting) as http:
            assert (await http.get("/healthz")).status_code == 200


async def test_half_a_certificate_is_none(settings: Settings, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("none")
    for paths, field in (
        ({"gateway_tls_cert_path": chain}, "FLEET_GATEWAY_TLS_KEY_PATH"),
        ({"gateway_tls_key_path": chain}, "FLEET_GATEWAY_TLS_KEY_PATH"),
    ):
        with pytest.raises(ConfigError, match=field):
            async with serving(settings.model_copy(update=paths)):
                pytest.fail("it must not start")


async def test_without_keys_nobody_comes_in_from_elsewhere(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="FLEET_GATEWAY_KEYS"):
        async with serving(settings.model_copy(update={"gateway_host": "0.0.0.0"})):
            pytest.fail("it must not start")


async def test_without_a_broker_it_does_not_start(settings: Settings) -> None:
    with pytest.raises(QueueUnavailable):
        async with serving(settings):
            pytest.fail("it must not start")
