"""Cancellation, delay and dead letters on real parts: a vLLM engine lets go of a job that is called off."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from patient_client import PatientClient

from fleet.model.attempt import FailureKind
from fleet.model.reason import Reason
from fleet.model.result import Status

pytestmark = pytest.mark.e2e

LONG = {
    "model": "llama-70b",
    "messages": [{"role": "user", "content": "Tell me everything."}],
    "max_tokens": 400,
    # The stand-ins end an answer with token 4; these shall not end by themselves.
    "logit_bias": {"4": -100},
}


@pytest.fixture
async def client(fleet):
    async with PatientClient.connect(fleet.nats_url, tenant="acme") as connected:
        yield connected


async def test_a_running_job_is_called_off_at_the_engine(client):
    """Long answers on one engine: those that are called off leave it to the one that is not."""
    survivor = await client.submit(task="chat", request=LONG, lane="interactive", cloud="deny")
    stopped: list[FailureKind] = []
    while FailureKind.CANCELLED not in stopped:  # until one had begun: on a slow machine all may be called off before
        ids = [await client.submit(task="chat", request=LONG, lane="interactive", cloud="deny") for _ in range(31)]
        cancelled = await asyncio.gather(*(client.cancel(job_id) for job_id in ids))
        results = [await client.result(job_id) for job_id in ids]
        assert [result.status is Status.CANCELLED for result in results] == cancelled
        stopped = [attempt.outcome.kind for result in results for attempt in result.attempts if result.answer is None]
    assert (await client.wait(survivor)).answer is not None


async def test_a_job_runs_no_sooner_than_asked(client):
    result = await client.run(
        task="chat", messages=[{"role": "user", "content": "Good morning."}], not_before_seconds=3.0, cloud="deny"
    )
    assert result.attempts[0].started_at >= result.submitted_at + 2.5


async def test_a_cancelled_job_that_was_to_run_much_later_is_answered_now(client):
    job_id = await client.submit(task="chat", messages=LONG["messages"], not_before_seconds=3600.0)
    asked_at = time.time()
    assert await client.cancel(job_id) is True
    assert (await client.result(job_id)).finished_at < asked_at + 3600.0


async def test_a_dead_letter_is_listed_and_dropped(fleet, client):
    result = await client.run(task="unheard.of", messages=LONG["messages"])
    assert (result.status, result.reason) == (Status.REJECTED, Reason.INVALID)
    told = await asyncio.to_thread(fleet.command, "dead", "list", "--tenant", "acme", "--json")
    [letter] = [each for each in json.loads(told.stdout)["letters"] if each["id"] == result.job_id]
    assert (letter["reason"], letter["task"]) == ("invalid", "unheard.of")
    dropped = await asyncio.to_thread(fleet.command, "dead", "drop", str(letter["seq"]), "--json")
    assert dropped.returncode == 0, dropped.stderr
