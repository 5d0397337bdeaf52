"""The experiments as flags of OpenFeature: a service draws what the dispatchers draw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from patience import PATIENCE_SECONDS

from fleet.app import apply_topology, open_experiments
from fleet.flags import FleetFlags
from fleet.model.errors import QueueUnavailable
from fleet.model.experiment import CONTROL, Arm, Experiment, Unit
from policies.experiments.assignment import drawn
from policies.experiments.checks import promoted, started, stopped
from queues.jetstream.stores.experiments import JetStreamExperiments, MemoryExperiments
from queues.server.embedded import EmbeddedServer

TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.3, target="llama-70b"),))
TENANTS = [f"tenant-{number}" for number in range(40)]


class Following(FleetFlags):
    """Needs no broker: the store is in this process."""

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Do nothing: `flags` follows the store."""


@pytest.fixture
def store() -> MemoryExperiments:
    return MemoryExperiments()


@pytest.fixture
async def flags(store: MemoryExperiments) -> AsyncIterator[OpenFeatureClient]:
    provider, heard = Following("nats://unused"), asyncio.Event()
    await store.change(lambda there: started(TRIAL, there.values(), 1.0))
    following = asyncio.create_task(provider.follow(store, heard))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await heard.wait()
    api.set_provider_and_wait(provider)
    yield api.get_client()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    api.clear_providers()


async def told(store: MemoryExperiments, change) -> None:
    """Change the experiment, and let those who watch hear of it."""
    await store.change(lambda there: change(there["trial"]))
    await asyncio.sleep(0)


async def test_a_service_draws_the_arm_that_a_dispatcher_draws_with_its_propensity(flags: OpenFeatureClient) -> None:
    for tenant in TENANTS:
        found = flags.get_string_details("trial", "none", EvaluationContext(tenant))
        arm = drawn(TRIAL, tenant)
        assert (found.value, found.variant, found.reason) == (arm.arm, arm.arm, Reason.SPLIT)
        assert found.flag_metadata == {"propensity": arm.propensity, "experiment": "trial"}
        is_candidate = flags.get_boolean_value("trial", False, EvaluationContext(tenant))
        assert is_candidate == (arm.arm == "candidate")


async def test_a_stop_and_a_promotion_are_heard(flags: OpenFeatureClient, store: MemoryExperiments) -> None:
    await told(store, lambda trial: promoted(trial, None, "better", 2.0))
    assert {flags.get_string_value("trial", "none", EvaluationContext(each)) for each in TENANTS} == {"candidate"}
    await told(store, lambda trial: stopped(trial, "not after all", 3.0))
    assert {flags.get_string_value("trial", "none", EvaluationContext(each)) for each in TENANTS} == {CONTROL}


async def test_a_conversation_is_drawn_within_its_tenant_and_the_scope_holds(
    flags: OpenFeatureClient, store: MemoryExperiments
) -> None:
    talks = replace(TRIAL, unit=Unit.CONVERSATION, tasks=frozenset({"chat"}))
    await told(store, lambda _: talks)
    for number in range(20):
        context = EvaluationContext(f"c-{number}", {"tenant": "acme", "task": "chat"})
        assert flags.get_string_value("trial", "none", context) == drawn(talks, f"acme.c-{number}").arm
    outside = flags.get_string_details("trial", "none", EvaluationContext("c-1", {"tenant": "acme", "task": "sing"}))
    assert (outside.value, outside.reason) == ("none", Reason.DEFAULT)
    lacking = flags.get_string_details("trial", "none", EvaluationContext("c-1", {"tenant": "acme"}))
    assert (lacking.value, lacking.error_code) == ("none", ErrorCode.INVALID_CONTEXT)
    assert "'task'" in lacking.error_message


@pytest.mark.parametrize(
    ("key", "context", "code"),
    [
        ("other", EvaluationContext("acme"), ErrorCode.FLAG_NOT_FOUND),
        ("trial", EvaluationContext(), ErrorCode.TARGETING_KEY_MISSING),
    ],
)
async def test_what_cannot_be_drawn_is_the_default_with_the_reason(flags, key, context, code) -> None:
    found = flags.get_boolean_details(key, True, context)
    assert (found.value, found.error_code) == (True, code)


async def test_an_arm_is_no_number(flags: OpenFeatureClient) -> None:
    for details in (flags.get_integer_details, flags.get_float_details, flags.get_object_details):
        assert details("trial", {}, EvaluationContext("acme")).error_code is ErrorCode.TYPE_MISMATCH


async def test_where_nothing_is_known_the_default_holds(flags: OpenFeatureClient, store: MemoryExperiments) -> None:
    store.lose()
    await asyncio.sleep(0)
    found = flags.get_string_details("trial", "none", EvaluationContext("acme"))
    assert (found.value, found.reason) == ("none", Reason.DEFAULT)


def test_a_provider_follows_a_real_broker(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        asyncio.run(_start(server.url))
        api.set_provider_and_wait(FleetFlags(server.url))
        found = api.get_client().get_string_details("trial", "none", EvaluationContext("tenant-1"))
        api.clear_providers()
    assert found.reason is Reason.SPLIT


def test_without_a_broker_a_service_learns_that_the_provider_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise QueueUnavailable("nothing listens")

    monkeypatch.setattr(JetStreamExperiments, "connect", refuse)
    with pytest.raises(ProviderNotReadyError, match="nothing listens"):
        api.set_provider_and_wait(FleetFlags("nats://unused"))
    api.clear_providers()


async def _start(url: str) -> None:
    await apply_topology(url)
    store = await open_experiments(url)
    await store.change(lambda there: started(TRIAL, there.values(), 1.0))
    await store.close()
