"""A job whose answer is written down ends where it comes in: one result, one line of accounts, no call."""

from __future__ import annotations

from dataclasses import replace

from fleet.model.attempt import Usage
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.telemetry.metrics.catalogue import CACHE_HITS
from fleet.telemetry.metrics.counts import JobCounts
from policies.caching.patterns import Pattern, PatternList, PatternRules


async def test_it_is_answered_once_at_no_cost_and_no_model_is_asked(bench, sure, tracer):
    found = PatternList("en", "2026-11-28", frozenset({"chat"}), (Pattern(("hello",), "Hello! How can I help?"),))
    bench.rules = replace(bench.rules, patterns=PatternRules({"greetings": found}, ("greetings",)))
    counts = bench.recorder = JobCounts(bench.rules.catalogue.targets, ["llama-8b"])
    backend = bench.backend("llama-8b", sure)
    request = {"messages": [{"role": "user", "content": "Hello!"}]}
    [job_id] = await bench.submit(task="chat", request=request)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.reason, result.target) == (Status.SUCCEEDED, Reason.PATTERN, "pattern")
    assert (result.answer.text, result.cost_usd, result.confidence) == ("Hello! How can I help?", 0.0, None)
    assert backend.batches == []
    [line] = bench.ledger()
    assert (line["status"], line["attempt"]["target"], line["attempt"]["reason"]) == ("succeeded", "pattern", "pattern")
    assert line["attempt"]["avoided"] == {"input_tokens": 2, "output_tokens": 6}
    assert result.attempts[0].avoided == Usage(2, 6)
    [hits] = [found for found in counts.read() if found.metric is CACHE_HITS]
    assert {point.labels: point.value for point in hits.points}["pattern",] == 1
    assert {span.attributes.get("target") for span in tracer.spans} >= {"pattern"}
