"""A provider that only the catalogue's file knows: `fleet dispatcher` as a process, real NATS, a stand-in over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import Scripted
from patient_client import PatientClient

from fleet.app import apply_topology
from fleet.model.reason import Reason
from fleet.model.result import Status

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
KEYS = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "HOUSE_KEY": "invented-house-key"}
# What an operator's machine may hold for other programs.
AMBIENT = {"OPENAI_ORG_ID": "org-ambient", "OPENAI_PROJECT_ID": "proj-ambient", "OPENAI_CUSTOM_HEADERS": "X-A: ambient"}


def row(name: str, provider: str) -> dict[str, Any]:
    prices = {"input_usd_per_million_tokens": 0.5, "output_usd_per_million_tokens": 1.0}
    sizes = {"context_tokens": 8192, "max_in_flight": 8, "latency": "fast"}
    return {"name": name, "provider": provider, "model": f"maker/{name}", "capabilities": ["text"], **prices, **sizes}


@pytest.fixture
def files(fault_server, cloud_only_rules: Path, tmp_path: Path) -> Mapping[str, str]:
    """A catalogue of two providers of its own, one of which asks for no key, and rules with their targets alone."""
    catalogue = {
        "providers": {
            "house": {
                "base_url": f"{fault_server.url}/house/v1",
                "key_variable": "HOUSE_KEY",
                "headers": {"X-Title": "Fleet"},
                "region": "eu",
            },
            "cellar": {"base_url": f"{fault_server.url}/cellar/v1", "auth": "none"},
        },
        "targets": [row("house-small", "house"), row("cellar-large", "cellar")],
    }
    rules = yaml.safe_load(cloud_only_rules.read_text())
    ladder = ["house-small", "cellar-large"]
    ladders = dict.fromkeys(("simple", "medium", "complex", "critical", "vision"), ladder)
    rules |= {"phase": "own", "phases": {"own": ladders}}
    rules["confidence"]["priors"] = {}
    for name, content in (("own-catalogue.yaml", catalogue), ("own-rules.yaml", rules)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    paths = {
        "FLEET_CATALOGUE_PATH": str(tmp_path / "own-catalogue.yaml"),
        "FLEET_RULES_PATH": str(tmp_path / "own-rules.yaml"),
    }
    return paths | KEYS | AMBIENT


@pytest.fixture
async def client(broker):
    await apply_topology(broker.url)
    async with PatientClient.connect(broker.url, tenant="acme") as connected:
        yield connected


async def test_a_provider_added_by_yaml_alone_answers_at_its_price(client, plain_dispatcher, fault_server, files):
    async with plain_dispatcher(**files):
        result = await client.run(task="classify.intent", messages=MESSAGES, cloud=["house"])
    assert (result.status, result.target) == (Status.SUCCEEDED, "house-small")
    assert result.cost_usd == pytest.approx((11 * 0.5 + 7 * 1.0) / 1e6)
    [request] = fault_server.received
    assert request.path == "/house/v1/chat/completions"
    assert request.body["model"] == "maker/house-small"
    assert (request.headers["authorization"], request.headers["x-title"]) == ("Bearer invented-house-key", "Fleet")
    assert "ambient" not in repr(request)


async def test_a_tenants_own_key_reaches_it_and_nothing_of_the_environment_goes_along(
    client, plain_dispatcher, fault_server, files
):
    own = {"plan": "own_key", "own_key": "house/main", "request": {"messages": MESSAGES}}
    async with plain_dispatcher(**files, FLEET_KEY_HOUSE_acme__main="invented-key-of-acme"):
        result = await client.run(task="classify.intent", **own)
    assert (result.status, result.cost_usd) == (Status.SUCCEEDED, 0.0)
    [request] = fault_server.received
    assert request.headers["authorization"] == "Bearer invented-key-of-acme"
    assert "ambient" not in repr(request)


async def test_a_provider_without_keys_takes_over_and_gets_none(client, plain_dispatcher, fault_server, files):
    fault_server.script(Scripted(401))
    async with plain_dispatcher(**files):
        result = await client.run(task="classify.intent", messages=MESSAGES)
    assert (result.status, result.target) == (Status.SUCCEEDED, "cellar-large")
    refused, answered = fault_server.received
    assert "authorization" in refused.headers
    assert answered.path == "/cellar/v1/chat/completions"
    assert "authorization" not in answered.headers


async def test_a_job_for_a_provider_that_the_file_does_not_have_is_refused_by_name(
    client, plain_dispatcher, fault_server, files
):
    async with plain_dispatcher(**files):
        result = await client.run(task="classify.intent", messages=MESSAGES, cloud=["hose"])
    assert (result.status, result.reason) == (Status.REJECTED, Reason.INVALID)
    assert result.problem.field == "cloud"
    assert "cellar" in result.problem.rule
    assert fault_server.received == []
