"""OpenAI's Node SDK, unmodified, at the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from gateways import TEXT_EVENTS
from node_programs import OPENAI, run_node

from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RunSettings
from fleet.model.batch import Batch
from fleet.model.webhook import EventType, WebhookEndpoint, WebhookEvent
from fleet.testing import Answered
from fleet.webhooks.sending import body_of
from fleet.webhooks.signing import Signer, signed_headers
from queues.batches import EveryBatch

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).parent / "node" / "doors.mjs"


def a_webhook() -> dict[str, object]:
    """An event as an endpoint gets it, and the endpoint's secret."""
    signer = Signer(bytes(32))
    endpoint = WebhookEndpoint("we_1", "acme", "nightly", "https://hooks.example", frozenset(EventType), "ab", 1.0, 1.0)
    event = WebhookEvent("acme", EventType.RESPONSE_COMPLETED, "resp_1", time.time())
    secret, body = signer.secret(endpoint, "ab"), body_of(event)
    return {"secret": secret, "body": body.decode(), "headers": signed_headers(event.id, body, [secret], time.time())}


async def test_every_door_is_open_to_it(bench, tmp_path: Path) -> None:
    async def announce(batch: Batch) -> None:
        """Nobody is to be told."""

    bench.script.reply = Answered("positive")
    batches, desk_of = EveryBatch(bench.tenants.shelf), bench.tenants.desk
    runner = BatchRunner(batches, desk_of, announce, RunSettings(tick_seconds=0.01), look_seconds=0.01)
    running = asyncio.create_task(runner.run())
    printed = await run_node(tmp_path, PROGRAM.read_text(), OPENAI, f"{bench.url}/v1", stdin=json.dumps(a_webhook()))
    runner.drain()
    await running

    said = json.loads(printed)
    assert said["chat"] == "positive"
    assert said["streamedChat"] == ["positive", 0]
    assert said["batch"] == ["completed", {"row-1": "positive", "row-2": "positive"}]
    assert said["background"] == ["queued", "completed", "positive"]
    assert said["brokenStreams"] == [[list(each) for each in enumerate(TEXT_EVENTS)]] * len(TEXT_EVENTS)
    assert said["webhooks"] == ["response.completed", "InvalidWebhookSignatureError"]
    # One job each for both chats, the response in the background and each stream, and one for each row.
    assert len(bench.jobs) == len({job.id for job in bench.jobs}) == 5 + len(TEXT_EVENTS)
