"""`fleet calibrate` as a process of its own: from the ledger and the comparisons on NATS to what is in force there."""

from __future__ import annotations

import asyncio
import json
import math
import sys

import numpy as np

from fleet.app import apply_topology, open_calibrations
from fleet.lab.learning.refit import heldout
from fleet.model.attempt import Answer, Attempt, Features, Judged, Usage
from fleet.model.calibration import Calibration, CalibrationKey, Familiarity, Fit, OutputKind, Scorer
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Outbound, Status
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue

KEY = CalibrationKey("llama-8b", "classify.intent", "token")
OF_TWO_TASKS = Calibration(
    CalibrationKey("llama-8b"),
    "llama-8b",
    "main",
    "raw_logprobs",
    "of-two-tasks",
    1.0,
    200,
    Scorer(Fit.PLATT, ("min_logit",), (3.0,), 4.0),
    familiar=Familiarity(("classify.intent", "nudge.sms")),
)
"""In force until now, with a scorer that anything fitted is better than."""


def answered(number: int, target: str, reason: Reason, logprob: float) -> Attempt:
    features = Features(logprob, logprob, logprob, logprob, logprob, 1, 1.0, 0.1)
    outcome = Answer({}, "stop", Usage(20, 1), target, features)
    return Attempt(number, target, reason, 1.0, 2.0, outcome, 0.9, judged=Judged(0.5, OutputKind.TOKEN))


def recorded(number: int, random: np.random.Generator) -> list[Outbound]:
    """A kept answer of an engine that claims twice the log-odds it has, and its comparison with a stronger one."""
    job_id, odds = f"job-{number:012d}", random.normal(0.8, 1.2)
    good = random.random() < 1 / (1 + math.exp(-odds))
    tried = (
        answered(1, "llama-8b", Reason.ROUTED, -math.log1p(math.exp(-2 * odds))),
        answered(2, "llama-70b", Reason.SHADOW, -0.01),
    )
    entries = [
        LedgerEntry(job_id, "acme", Lane.BULK, 3.0, each.reason, "classify.intent", "paid", Status.SUCCEEDED, each)
        for each in tried
    ]
    verdict = Verdict.GOOD if good else Verdict.BAD
    said = Feedback(
        job_id, "acme", verdict, 0.0, Witness.SHADOW, target="llama-8b", propensity=0.01, id=f"shadow-{job_id}-1"
    )
    return [*entries, said]


async def test_comparisons_on_the_wire_become_a_calibration_in_force_and_take_no_other_task_its_own(broker):
    await apply_topology(broker.url)
    store = await open_calibrations(broker.url)
    await store.put([OF_TWO_TASKS])
    await store.close()
    connection = await connect(broker.url)
    random = np.random.default_rng(3)
    await JetStreamQueue(connection).publish([post for number in range(400) for post in recorded(number, random)])
    await connection.close()

    command = [sys.executable, "-m", "fleet.cli", "calibrate", "--json", "--nats-url", broker.url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    shown, _ = await process.communicate()

    store = await open_calibrations(broker.url)
    in_force = await store.read_all()
    await store.close()
    found = in_force[KEY]
    report = json.loads(shown)
    assert (process.returncode, report["labels"], report["unused"], report["unreadable"]) == (0, 400, {}, 0)
    assert (found.labels, found.strong) == (sum(not heldout(f"acme.job-{n:012d}") for n in range(400)), "llama-70b")
    assert 0.3 < found.scorer.weights[0] < 0.8
    assert in_force[OF_TWO_TASKS.key] == OF_TWO_TASKS
