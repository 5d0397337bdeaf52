"""NATS that is frozen, as by a full disk or a hypervisor, while jobs are in flight: it costs time and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest
from fault_server import Manner, Scripted
from patient_client import PatientClient

from fleet.app import apply_topology, read_status
from fleet.model.errors import Unreachable
from fleet.model.result import Status
from fleet.settings.environment import load
from queues.jetstream.client import connection

pytestmark = pytest.mark.e2e

JOBS = 12
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.mark.proves("NATS frozen with jobs in flight loses no job, doubles none and pays for none twice", how="real")
async def test_jobs_in_flight_end_once_after_nats_was_frozen(broker, plain_dispatcher, fault_server, monkeypatch):
    await apply_topology(broker.url)
    fault_server.script(*[Scripted(manner=Manner.HELD)] * JOBS)
    async with PatientClient.connect(broker.url, tenant="acme") as client, plain_dispatcher(FLEET_LEASE_SECONDS="300"):
        jobs = [await client.submit(task="classify.intent", messages=MESSAGES) for _ in range(JOBS)]
        waiting = [asyncio.create_task(client.wait(job)) for job in jobs]
        await fault_server.until(received=2)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            fault_server.release()  # answers come while nothing can be stored
            with monkeypatch.context() as hasty:
                hasty.setattr(connection, "DEFAULT_TIMEOUT_SECONDS", 1.0)
                with pytest.raises(Unreachable, match="accepts the connection and says nothing for 1 s"):
                    await read_status(load(nats_url=broker.url))
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        results = await asyncio.gather(*waiting)
        status = await read_status(load(nats_url=broker.url))
    assert Counter(result.status for result in results) == {Status.SUCCEEDED: JOBS}
    assert len({result.job_id for result in results}) == JOBS == status.streams["RESULTS"]
    assert len(fault_server.received) == JOBS
