# Shows: one job submitted and waited for in a single call, and one whose answer is fetched later by its id.
# Needs: a running fleet: `make up` in another terminal.
# Run:   .venv/bin/python examples/submit_and_wait.py

import asyncio
import os

from fleet.client import FleetClient

NATS_URL = os.environ.get("FLEET_NATS_URL", "nats://127.0.0.1:4222")
TASK = "classify.sentiment"
QUESTION = "Classify the sentiment: positive, neutral, negative.\nKatapu: The meeting with Vuhis was smooth."
MESSAGES = [{"role": "user", "content": QUESTION}]


async def main() -> None:
    async with FleetClient.connect(NATS_URL, tenant="demo") as client:
        result = await client.run(task=TASK, messages=MESSAGES, timeout_seconds=600)
        answer = result.answer.text if result.answer else result.problem
        print(f"waited: {result.status}, {answer!r} from {result.target}, confidence {result.confidence}")

        # Keep the id where the process that asks later finds it. Results are kept for 24 hours.
        job_id = await client.submit(task=TASK, messages=MESSAGES, metadata={"note": "17"})
        result = await client.wait(job_id, timeout_seconds=600)
        print(f"later:  {result.status}, job {job_id}, metadata {dict(result.metadata)}, ${result.cost_usd:.8f}")


asyncio.run(main())
