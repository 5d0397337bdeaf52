# Shows: answers, a verdict on each, and what `fleet calibrate` would make of those verdicts (it changes nothing).
# Needs: a running fleet: `make up` in another terminal. The more jobs, the more there is to learn from.
# Run:   .venv/bin/python examples/feedback_loop.py 300

import asyncio
import os
import subprocess
import sys

from deployments.standins.tasks import TaskExample, examples, is_correct
from fleet.client import FleetClient

NATS_URL = os.environ.get("FLEET_NATS_URL", "nats://127.0.0.1:4222")


async def judge(client: FleetClient, example: TaskExample) -> str:
    """Run one job and give feedback on its answer. In a service a user gives it; here the right answer is known."""
    result = await client.run(task=example.task, messages=example.messages, timeout_seconds=600)
    if result.answer is None:
        return "no answer"
    verdict = "good" if is_correct(example.task, example.answer, result.answer.text) else "bad"
    await client.feedback(result.job_id, verdict)
    return verdict


async def give_feedback(count: int) -> None:
    jobs = list(examples("heldout", seed=1, n=count, task="classify.sentiment"))
    async with FleetClient.connect(NATS_URL, tenant="demo") as client:
        verdicts = await asyncio.gather(*(judge(client, job) for job in jobs))
    for verdict in sorted(set(verdicts)):
        print(f"{verdict}: {verdicts.count(verdict)}", flush=True)


asyncio.run(give_feedback(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
# Without --dry-run, what is better goes in force, and running dispatchers take it up.
command = [sys.executable, "-m", "fleet.cli", "calibrate", "--dry-run", "--nats-url", NATS_URL]
sys.exit(subprocess.run(command).returncode)
