"""Who shares the caches of engines, and whose calls are marked for providers': the rule reaches every call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.rules.sections import PrefixCacheRules

SMALL, MIDDLE = "llama-8b", "mixtral-8x7b"
CLOUD = "groq-gpt-oss-120b"


@pytest.mark.parametrize(
    ("rule", "salt"),
    [
        (PrefixCacheRules(), None),
        (PrefixCacheRules(tenants={"acme": False}), "acme"),
        (PrefixCacheRules(tenants={"globex": False}), None),
        (PrefixCacheRules(shared=False), "acme"),
        (PrefixCacheRules(shared=False, tenants={"acme": True}), None),
    ],
)
async def test_every_call_of_a_tenant_that_does_not_share_says_so(bench, sure, unsure, rule, salt):
    bench.rules = replace(bench.rules, prefix_cache=rule)
    backends = bench.backend(SMALL, unsure), bench.backend(MIDDLE, sure)
    async with bench.running():
        for job_id in await bench.submit(3):
            await bench.result(job_id)
    calls = [call for backend in backends for batch in backend.batches for call in batch]
    assert len(calls) == 6
    assert {call.cache_salt for call in calls} == {salt}
    assert {call.cache_scope for call in calls} == {None}, "they are calls to the fleet's own"


@pytest.mark.parametrize(("mark", "scope"), [(True, "acme"), (False, None)])
async def test_calls_to_providers_may_be_marked_for_their_caches_by_tenant(bench, sure, mark, scope):
    bench.rules = replace(bench.rules, prefix_cache=PrefixCacheRules(mark=mark))
    backend = bench.backend(CLOUD, sure)
    [job_id] = await bench.submit(request={"model": CLOUD, "messages": [{"role": "user", "content": "Fine."}]})
    async with bench.running():
        await bench.result(job_id)
    [[call]] = backend.batches
    assert call.cache_scope == scope
