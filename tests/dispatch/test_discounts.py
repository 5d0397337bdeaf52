"""A job that can wait is answered on the flexible tier, at its price, or at the usual one if that has no room."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fault_server import Scripted

from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from policies.rules.catalogue import catalogue_of
from policies.rules.discounts import DiscountRules

NO_ROOM = {"error": {"message": "No capacity.", "type": "rate_limit_error", "code": "resource_unavailable"}}


@pytest.fixture
def flexible(bench, fault_server):
    """The bench with gpt-4o alone on its ladder, and its flexible equal, both behind the real SDK."""
    catalogue = bench.rules.catalogue
    usual = catalogue.targets["gpt-4o"]
    half = {
        "input_usd_per_million_tokens": usual.input_usd_per_million_tokens / 2,
        "output_usd_per_million_tokens": usual.output_usd_per_million_tokens / 2,
    }
    flex = replace(usual, name="gpt-4o-flex", same_as="gpt-4o", service_tier="flex", timeout_seconds=540.0, **half)
    bench.rules = replace(
        bench.rules,
        catalogue=catalogue_of((*catalogue.targets.values(), flex), catalogue.providers),
        phases={name: replace(phase, simple=("gpt-4o",)) for name, phase in bench.rules.phases.items()},
        discounts=DiscountRules(flex=True),
    )
    settings = ProviderSettings(base_urls=fault_server.base_urls)
    keys = EnvironmentKeyRing({"OPENAI_API_KEY": "sk-invented"})
    for target in (usual, flex):
        bench.backends[target.name] = build(target, settings, keys)
        bench.backends[target.name].gate = asyncio.Event()  # which the bench opens at the end
    return bench


@pytest.mark.parametrize(("lane", "tier"), [(Lane.BULK, "flex"), (Lane.INTERACTIVE, None)])
async def test_the_deadline_decides_which_tier_is_asked_and_paid(flexible, fault_server, lane, tier):
    async with flexible.running():
        [job_id] = await flexible.submit(lane=lane)
        result = await flexible.result(job_id)
    [request] = fault_server.received
    assert request.body.get("service_tier") == tier
    usual = (11 * 2.5 + 7 * 10.0) / 1e6
    assert result.cost_usd == pytest.approx(usual / 2 if tier else usual)
    assert result.attempts[0].reason is (Reason.CHEAPER if tier else Reason.ROUTED)


async def test_without_room_on_the_flexible_tier_the_job_is_answered_and_paid_once_at_the_usual_one(
    flexible, fault_server
):
    fault_server.script(Scripted(429, NO_ROOM))
    async with flexible.running():
        [job_id] = await flexible.submit(lane=Lane.BULK)
        result = await flexible.result(job_id)
    assert [each.body.get("service_tier") for each in fault_server.received] == ["flex", None]
    assert (result.status, result.target) == (Status.SUCCEEDED, "gpt-4o")
    assert [attempt.cost_usd for attempt in result.attempts] == [0.0, pytest.approx((11 * 2.5 + 7 * 10.0) / 1e6)]
