"""docs/how-to/webhooks.md: its receiver verifies what the fleet sends, and what it lists is all there is."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest
from gateways import doors_to, gateway
from pages import ROOT, blocks
from patience import eventually
from webhook_receiver import receiving

from fleet.loopback import free_port, is_free
from fleet.model.webhook import ENDPOINT_ID, EventType, WebhookEndpoint, WebhookEvent
from fleet.settings.environment import PREFIX, Settings
from fleet.telemetry.metrics.catalogue import GROUPS
from fleet.testing import MemoryFleet
from fleet.webhooks.addresses import Permitted
from fleet.webhooks.deliverer import MOST_WAITING, OUTCOMES, REASONS
from fleet.webhooks.endpoints import MOST_ENDPOINTS
from fleet.webhooks.posting import (
    FAILED,
    FORBIDDEN,
    MOST_REPLY_BYTES,
    TIMEOUT,
    TIMEOUT_SECONDS,
    UNRESOLVED,
    Poster,
    SystemResolver,
)
from fleet.webhooks.sending import WebhookSender, body_of
from fleet.webhooks.signing import KEY_VARIABLE, Signer
from policies.webhooks import BUSY, PAUSE_SECONDS, SCHEDULE_SECONDS

PAGE = ROOT / "docs" / "how-to" / "webhooks.md"
TEXT = PAGE.read_text()
SIGNER = Signer(bytes(32))
[RECEIVER] = [block for block in blocks(PAGE) if block.language == "python" and "ThreadingHTTPServer" in block.text]
[SETUP] = [block for block in blocks(PAGE) if block.language == "sh"]
[MAKING] = [block for block in blocks(PAGE) if block.language == "python" and "webhooks.create" in block.text]
[SHAPE] = [block for block in blocks(PAGE) if block.language == "json"]


@asynccontextmanager
async def receiver_of_the_page(port: int, secret: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RECEIVER.text.replace("8290", str(port))),
        env={"WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_the_receiver_of_the_page_takes_what_is_sent_and_refuses_what_is_not_signed() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    endpoint = WebhookEndpoint("we_1", "acme", "nightly", url, frozenset(EventType), "ab", 1.0, 1.0)
    poster = Poster(Permitted([ip_network("127.0.0.0/8")]), SystemResolver())
    event = WebhookEvent("acme", EventType.BATCH_COMPLETED, "batch_1", 1000.0)
    async with receiver_of_the_page(port, SIGNER.secret(endpoint, "ab")) as process:
        await eventually(lambda: not is_free(port))
        sender = WebhookSender(SIGNER, poster, time.time)
        taken = await sender.send(event, endpoint)
        refused = await sender.send(event, replace(endpoint, salt="cd"))
        assert process.stdout is not None
        printed = await process.stdout.readline()

    assert (taken.status, refused.status) == (204, 400)
    assert printed.decode().split() == ["batch.completed", "batch_1"]


async def test_the_endpoint_of_the_page_is_made_with_a_key_of_the_page() -> None:
    async with MemoryFleet(lambda job: "yes") as fleet, gateway(doors_to(fleet)) as url, receiving() as receiver:
        program = MAKING.text.replace("http://127.0.0.1:8280", url).replace(
            "https://hooks.example.com/fleet", receiver.url
        )
        printed = await printed_by(sys.executable, "-c", program)
    endpoint_id, secret = printed.split()
    assert ENDPOINT_ID.fullmatch(endpoint_id)
    assert secret.startswith("whsec_")


async def test_the_key_of_the_page_is_one() -> None:
    key = await printed_by("bash", "-euc", f'{SETUP.text}\nprintf %s "${KEY_VARIABLE}"')
    Signer.from_environment({KEY_VARIABLE: key})


async def printed_by(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


def test_every_block_is_run_or_is_a_command_that_is_parsed() -> None:
    assert {block.language for block in blocks(PAGE)} == {"sh", "console", "python", "json"}


def test_the_event_that_is_shown_has_the_shape_of_those_that_are_sent() -> None:
    shown = json.loads(SHAPE.text)
    event = WebhookEvent("acme", EventType(shown["type"]), shown["data"]["id"], shown["created_at"])
    assert json.loads(body_of(event)) == {**shown, "id": event.id}


def test_every_type_of_event_is_named_and_no_other() -> None:
    named = set(re.findall(r"`((?:batch|response)\.[a-z]+)`", TEXT))
    assert named == {str(each) for each in EventType}


@pytest.mark.parametrize("word", [*REASONS, *OUTCOMES, FAILED, FORBIDDEN, TIMEOUT, UNRESOLVED])
def test_every_word_of_the_log_and_the_metrics_is_explained(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_every_metric_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(fleet_webhook[a-z_]+)` \|", TEXT, re.M)
    assert listed == [name for metric in GROUPS["Delivery of webhooks"] for name in metric.series]


def test_every_variable_of_the_page_is_read() -> None:
    named = set(re.findall(r"\bFLEET_[A-Z_]*[A-Z]\b", TEXT))
    assert named <= {KEY_VARIABLE, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)}


def test_its_numbers_are_those_of_the_program() -> None:
    text = " ".join(TEXT.split())
    seconds = [5.0, 300.0, 1800.0, *(hours * 3600.0 for hours in (2, 5, 10, 14, 20, 24))]
    assert list(SCHEDULE_SECONDS) == seconds
    assert "5 seconds, 5 minutes, 30 minutes, 2, 5, 10, 14, 20 and 24 hours" in text
    assert (
        f"{', '.join(map(str, sorted(BUSY)))} | it has too much to do: nothing is sent to it for {PAUSE_SECONDS:g} s"
        in text
    )
    assert f"within {TIMEOUT_SECONDS:g} seconds" in text
    assert f"At most {MOST_WAITING:,} events" in text
    assert f"at most {MOST_ENDPOINTS} endpoints" in text
    assert f"at most {MOST_REPLY_BYTES // 1024} KiB" in text
