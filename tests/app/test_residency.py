"""A job kept in a region never leaves it: a dispatcher as a process of its own, the providers' SDKs, and real NATS.

OpenAI is in one region, Anthropic in another.
"""

from __future__ import annotations

import pytest
import yaml
from fault_server import Scripted
from otlp_sink import OtlpSink
from patient_client import PatientClient

from fleet.app import apply_topology
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.settings.documents import shipped

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
HERE, ELSEWHERE, EMPTY = "eu-central-1", "us-east-1", "ap-south-1"
CLAUDE, GPT = "/v1/messages", "/v1/chat/completions"


@pytest.fixture
def placed(tmp_path, cloud_only_rules):
    """The environment that names a catalogue with regions, and rules that keep tenant `kept` in one of them."""
    catalogue = yaml.safe_load(shipped("deployments", "catalogue.yaml").read_text())
    catalogue["providers"] = {
        "openai": {"region": ELSEWHERE},
        "anthropic": {"region": HERE},
        "fleet": {"region": EMPTY},
    }
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump(catalogue))
    rules = yaml.safe_load(cloud_only_rules.read_text())
    rules["residency"] = {"tenants": {"kept": {"regions": [HERE]}, "openai-only": {"providers": ["openai"]}}}
    cloud_only_rules.write_text(yaml.safe_dump(rules))
    return {"FLEET_CATALOGUE_PATH": str(path)}


@pytest.fixture
async def client(broker):
    await apply_topology(broker.url)
    async with PatientClient.connect(broker.url, tenant="acme") as connected:
        yield connected


def asked(fault_server):
    return [request.path for request in fault_server.received]


async def test_a_job_is_answered_in_its_region_and_result_and_trace_say_where(
    client, plain_dispatcher, placed, fault_server
):
    with OtlpSink() as sink:
        async with plain_dispatcher(**placed, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url):
            anywhere = await client.run(task="classify.intent", messages=MESSAGES)
            here = await client.run(task="classify.intent", messages=MESSAGES, regions=[HERE])
        calls = [span for span in sink.all_spans() if span.name.startswith("chat ")]
    assert [each.region for each in (*anywhere.attempts, *here.attempts)] == [ELSEWHERE, HERE]
    assert (here.status, here.target) == (Status.SUCCEEDED, "claude-sonnet")
    assert asked(fault_server) == [GPT, CLAUDE]
    told = [{word.key: word.value.string_value for word in span.attributes}["fleet.region"] for span in calls]
    assert sorted(told) == sorted([ELSEWHERE, HERE])


async def test_no_target_elsewhere_is_asked_when_the_one_here_limits_and_refuses(
    client, plain_dispatcher, placed, fault_server
):
    fault_server.script(Scripted(429, headers={"Retry-After": "0"}), Scripted(400, body={"error": {"message": "no"}}))
    async with plain_dispatcher(**placed):
        result = await client.run(task="classify.intent", messages=MESSAGES, regions=[HERE])
    assert (result.status, result.reason) == (Status.FAILED, Reason.ALL_FAILED)
    assert [attempt.target for attempt in result.attempts] == ["claude-sonnet"] * 2
    assert asked(fault_server) == [CLAUDE] * 2


async def test_the_rule_of_a_tenant_holds_for_jobs_that_say_nothing_and_for_those_that_would_widen_it(
    broker, client, plain_dispatcher, placed, fault_server
):
    async def run(tenant, **options):
        async with PatientClient.connect(broker.url, tenant=tenant) as connected:
            return await connected.run(task="classify.intent", messages=MESSAGES, **options)

    async with plain_dispatcher(**placed):
        plain = await run("kept")
        wider = await run("kept", regions=[HERE, ELSEWHERE])
        contrary = [
            await run("kept", regions=[ELSEWHERE]),
            await run("kept", cloud=["openai"]),
            await run("openai-only", regions=[HERE]),
            await run("openai-only", cloud=["anthropic"]),
        ]
    assert [each.target for each in (plain, wider)] == ["claude-sonnet"] * 2
    assert [(each.status, each.reason) for each in contrary] == [(Status.FAILED, Reason.RESIDENCY)] * 4
    assert asked(fault_server) == [CLAUDE] * 2


async def test_a_job_that_no_target_may_take_is_told_why_and_asks_nobody(
    client, plain_dispatcher, placed, fault_server
):
    async with plain_dispatcher(**placed):
        result = await client.run(task="classify.intent", messages=MESSAGES, regions=[EMPTY])
        later = await client.run(task="classify.intent", messages=MESSAGES, regions=[EMPTY], not_before_seconds=3600.0)
        own = {"plan": "own_key", "own_key": "openai/main"}
        with_key = await client.run(task="classify.intent", messages=MESSAGES, regions=[HERE], **own)
    assert [each.reason for each in (result, later, with_key)] == [Reason.RESIDENCY] * 3
    assert f"claude-sonnet: the job permits region {EMPTY} only, not {HERE}" in result.problem.message
    assert fault_server.received == []


async def test_an_unknown_name_is_refused_and_never_taken_for_a_permission_or_a_ban(
    client, plain_dispatcher, placed, fault_server
):
    async with plain_dispatcher(**placed):
        region = await client.run(task="classify.intent", messages=MESSAGES, regions=[HERE, "eu"])
        provider = await client.run(task="classify.intent", messages=MESSAGES, cloud=["openai", "opnai"])
    for result, field, name in ((region, "regions", "'eu'"), (provider, "cloud", "'opnai'")):
        assert (result.status, result.problem.field) == (Status.REJECTED, field)
        assert name in str(result.problem)
    assert fault_server.received == []
