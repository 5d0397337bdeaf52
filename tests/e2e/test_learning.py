"""What a fleet learns from its users, on real parts: feedback in, calibrations out, nothing restarted."""

from __future__ import annotations

import asyncio
import json
import statistics

import pytest
from patience import PATIENCE_SECONDS
from patient_client import PatientClient

from deployments.standins.tasks import examples
from fleet.lab.learning.refit import heldout

pytestmark = pytest.mark.e2e

SUMS = "report.totals"
TASK = "chat"
TENANT = "lyceum"
KEY = "llama-8b/chat/short"


@pytest.fixture
async def client(fleet):
    async with PatientClient.connect(fleet.nats_url, tenant=TENANT) as connected:
        yield connected


def test_explain_shows_by_what_calibration_a_real_answer_was_judged(fleet):
    [job] = examples("heldout", 21, 1, task="classify.intent")
    done = fleet.command("submit", job.task, job.messages[-1]["content"], "--wait", "--json")
    job_id = json.loads(done.stdout)["id"]
    explained = json.loads(fleet.command("explain", job_id, "--json").stdout)
    first = explained["decisions"][0]
    assert (first["target"], first["meaning"]) == ("llama-8b", "first on the ladder of its tier and plan")
    assert first["calibration"] is not None and first["features"]["count"] >= 1
    assert 0 < first["confidence"] <= 1 and first["threshold"] == 0.75 and first["cost_usd"] > 0
    assert "calibration" in fleet.command("explain", job_id).stdout


async def test_verdicts_of_users_become_the_calibration_that_judges_the_next_answer(fleet, client):
    """Users say the opposite of what the fleet believes of the small model's chats, whatever that is: all but two of
    the answers that scorers are fitted on, and all that judge them. So the new one is better on any processor."""
    jobs = list(examples("heldout", 22, 160, task=SUMS))
    alone = {"model": "llama-8b", "temperature": 0}
    results = await asyncio.gather(
        *(
            client.run(
                id=f"said-otherwise-{n:06d}",
                task=TASK,
                request={"messages": j.messages} | alone,
                tier="complex",
                cloud="deny",
            )
            for n, j in enumerate(jobs)
        )
    )
    believed = statistics.mean(result.attempts[0].confidence for result in results) > 0.5
    fitted_on = [result.job_id for result in results if not heldout(f"{TENANT}.{result.job_id}")]
    for result in results:
        good = believed is (result.job_id in fitted_on[:2])
        await client.feedback(result.job_id, "good" if good else "bad")

    fitted = json.loads((await asyncio.to_thread(fleet.command, "calibrate", "--json")).stdout)

    mine = next(each for each in fitted["calibrations"] if each["key"] == KEY)
    assert (mine["labels"], mine["accepted"]) == (len(jobs), True)
    judged = await _judged_by(client, mine["version"], jobs[0])
    assert (judged.attempts[0].confidence < 0.5) is believed


async def _judged_by(client, version, job):
    """The first answer that this calibration has judged: the dispatcher looks for new ones every few seconds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            result = await client.run(task=TASK, messages=job.messages, tier="simple", cloud="deny")
            if result.attempts[0].judged.calibration == version:
                return result


async def test_better_please_is_answered_by_a_stronger_model(client):
    [job] = examples("heldout", 23, 1, task="classify.intent")
    first = await client.run(task=job.task, messages=job.messages, cloud="deny")
    again = await client.wait(await client.better(first.job_id, task=job.task, messages=job.messages, cloud="deny"))
    names = ["llama-8b", "mixtral-8x7b", "llama-70b"]
    assert names.index(again.target) > names.index(first.target)
