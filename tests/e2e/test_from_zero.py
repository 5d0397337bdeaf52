"""Scaling on real parts: a model goes to none, starts for its first job, and no other replica is touched."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import pytest
from patience import PATIENCE_SECONDS
from patient_client import PatientClient

pytestmark = pytest.mark.e2e

TARGET = "mixtral-8x7b"
CHAT = {"model": TARGET, "messages": [{"role": "user", "content": "Good morning."}], "max_tokens": 20}


def replicas(fleet) -> dict[str, set[str]]:
    """The ids of what Serve runs, by target."""
    with urllib.request.urlopen(f"{fleet.dashboard_url}/api/serve/applications/", timeout=PATIENCE_SECONDS) as reply:
        applications = json.load(reply)["applications"]
    return {
        name: {
            replica["replica_id"]
            for replica in applications[name]["deployments"][name]["replicas"]
            if replica["state"] == "RUNNING"
        }
        for name in fleet.targets
    }


def scaled(fleet, *change: str) -> None:
    done = fleet.command("scale", TARGET, *change)
    assert done.returncode == 0, done.stderr


@pytest.mark.proves("A model scaled to zero comes back for its first job", how="real")
async def test_a_model_that_was_sent_away_comes_back_for_its_first_job(fleet):
    before = await asyncio.to_thread(replicas, fleet)
    try:
        await asyncio.to_thread(scaled, fleet, "--min", "0")
        await asyncio.to_thread(scaled, fleet, "--drain")
        await asyncio.to_thread(scaled, fleet, "--resume")
        async with PatientClient.connect(fleet.nats_url, tenant="acme") as client:
            result = await client.run(task="chat", request=CHAT, cloud="deny")
            while result.attempts[0].target != TARGET:
                # Dispatchers look every two seconds: for those that have not seen the end of the hold, it still is one.
                assert result.attempts[0].reason == "target_cold"
                result = await client.run(task="chat", request=CHAT, cloud="deny")
    finally:
        await asyncio.to_thread(scaled, fleet, "--min", "1")
    assert result.answer is not None
    after = await asyncio.to_thread(replicas, fleet)
    [old], [new] = before.pop(TARGET), after.pop(TARGET)
    assert old != new
    assert before == after, "a change of one target's bounds restarts no replica of another"
