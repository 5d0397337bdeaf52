"""Every Python example in a process of its own, started as its header says."""

from __future__ import annotations

import json
import sys

import pytest

from deployments.standins.tasks import examples
from fleet.app import open_journal
from fleet.client import FleetClient
from fleet.lab.learning.collected import collect
from fleet.settings.documents import load_rules

pytestmark = pytest.mark.e2e


async def test_an_answer_is_waited_for_and_another_is_fetched_by_its_id(bench):
    async with bench.dispatching():
        waited, later = (await bench.example("submit_and_wait.py")).splitlines()
    assert waited.startswith("waited: succeeded, 'positive' from llama-8b, confidence 0.82")
    assert later.startswith("later:  succeeded, job ") and "metadata {'note': '17'}" in later


async def test_a_verdict_on_every_answer_becomes_a_label_that_calibrate_weighs_and_does_not_put_in_force(bench):
    right = sum(each.answer == "positive" for each in examples("heldout", 1, 12, task="classify.sentiment"))
    assert 0 < right < 12
    async with bench.dispatching():
        told = await bench.example("feedback_loop.py", "12")
    journal = await open_journal(bench.nats_url)
    found = await collect(journal)
    await journal.close()
    assert sorted(label.good for label in found.labels) == [False] * (12 - right) + [True] * right
    assert told.splitlines()[:2] == [f"bad: {12 - right}", f"good: {right}"]
    assert told.splitlines()[-1].endswith("of 2 calibrations would be put in force")


async def test_own_rules_and_an_own_catalogue_decide_what_explain_shows(bench, tmp_path):
    folder = tmp_path / "mine"
    told = await bench.example("custom_rules.py", str(folder))
    assert "shipped  is rejected: unknown task 'triage.ticket'" in told
    assert "yours    runs on mixtral-8x7b (routed)" in told
    rules = load_rules(folder / "rules.yaml", folder / "catalogue.yaml", "local")
    asked = [{"role": "user", "content": "The export fails since Monday."}]
    async with bench.dispatching(rules), FleetClient.connect(bench.nats_url, tenant="demo") as client:
        new = await client.submit(task="triage.ticket", messages=asked)
        strict = await client.submit(task="classify.sentiment", messages=asked)
        for job in (new, strict):
            await client.wait(job, timeout_seconds=600)
    [decision] = await explained(bench, new)
    assert decision["target"] == "mixtral-8x7b"
    assert decision["cost_usd"] == pytest.approx((40 * 0.0018 + 2 * 0.03) / 1e6)
    first, *climbed = await explained(bench, strict)
    assert (first["target"], first["confidence"], first["threshold"]) == ("llama-8b", pytest.approx(0.825), 0.9)
    assert climbed[0]["reason"] == "low_confidence"


async def test_an_endpoint_of_ones_own_answers_and_its_probabilities_are_the_confidence(bench):
    told = await bench.example("own_provider.py")
    assert told.startswith("succeeded: 'Hello!' from house-model, confidence 0.98"), told
    assert told.rstrip().endswith("$0.00000130")


async def explained(bench, job_id: str) -> list[dict]:
    """What `fleet explain` says of a job's attempts."""
    done = await bench.start(sys.executable, "-m", "fleet.cli", "explain", job_id, "--tenant", "demo", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["decisions"]
