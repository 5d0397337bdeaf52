"""Who shares the caches of the fleet's own engines: the rule reaches every call of a tenant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.rules.sections import PrefixCacheRules

SMALL, MIDDLE = "llama-8b", "mixtral-8x7b"


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
