"""One request to an address that a stranger has chosen: it goes where it may, once, and nothing of it is followed."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from ipaddress import ip_network
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from webhook_receiver import Received, Receiver, receiving, says, status

from fleet.webhooks import posting
from fleet.webhooks.addresses import Permitted
from fleet.webhooks.posting import FAILED, FORBIDDEN, MOST_REPLY_BYTES, TIMEOUT, UNRESOLVED, Poster, SystemResolver
from policies.webhooks import WebhookReply
from queues.server.config import Server
from queues.server.dev_ca import write_certificates

LOOPBACK = Permitted([ip_network("127.0.0.0/8")])
BODY = b'{"id":"evt_1"}'


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def post(url: str, permitted: Permitted = LOOPBACK, **options: float) -> WebhookReply:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await Poster(permitted, SystemResolver(), **options).post(url, {"webhook-id": "evt_1"}, BODY)


class Names:
    """Names that lead where a test says, differently at each look."""

    def __init__(self, *looks: Sequence[str]) -> None:
        self.looks = list(looks)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return self.looks.pop(0)


async def test_the_receiver_gets_these_bytes_with_these_headers_and_nothing_else(receiver: Receiver) -> None:
    assert await post(f"{receiver.url}?a=b") == WebhookReply(204)

    [request] = receiver.received
    assert (request.line, request.body) == ("POST /hook?a=b HTTP/1.1", BODY)
    assert request.headers == {
        "host": receiver.url.split("/")[2],
        "user-agent": "fleet",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "webhook-id": "evt_1",
    }


async def test_a_redirect_is_a_status_like_others_and_is_not_followed(receiver: Receiver) -> None:
    receiver.answering = status(302, f"Location: {receiver.url}/elsewhere")
    assert await post(receiver.url) == WebhookReply(302)
    assert len(receiver.received) == 1


async def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await post(receiver.url) == WebhookReply(204)


async def test_of_a_body_without_end_no_more_than_its_beginning_is_read(receiver: Receiver) -> None:
    written = 0

    async def pour(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(bytes(MOST_REPLY_BYTES))
            written += MOST_REPLY_BYTES
            await writer.drain()  # raises when the other side has hung up

    receiver.answering = pour
    assert await post(receiver.url) == WebhookReply(200)
    assert written > MOST_REPLY_BYTES


async def test_a_body_that_never_ends_does_not_undo_its_status(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "DRAIN_SECONDS", 0.01)

    async def stall(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await asyncio.Event().wait()

    receiver.answering = stall
    assert await post(receiver.url) == WebhookReply(200)


async def test_a_receiver_that_says_nothing_is_waited_for_only_so_long(receiver: Receiver) -> None:
    async def hang(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    receiver.answering = hang
    assert await post(receiver.url, timeout_seconds=0.2) == WebhookReply(problem=TIMEOUT)


@pytest.mark.parametrize(
    "reply", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000, b"\x00" * 100]
)
async def test_what_is_no_reply_is_a_failure(receiver: Receiver, reply: bytes) -> None:
    receiver.answering = says(reply)
    assert await post(receiver.url) == WebhookReply(problem=FAILED)


async def test_an_address_where_nobody_listens_is_a_failure(receiver: Receiver) -> None:
    assert await post("http://127.0.0.1:1/hook") == WebhookReply(problem=FAILED)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("120", 120.0), ("0", 0.0), ("soon", None), ("-5", None), ("1" * 40, 111_111_111.0), ("", None)),
        (f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", None),
        (f"Mon, 01 Jan 2030 00:00:00 +{'9' * 20}", None),
    ],
)
async def test_retry_after_is_read_in_seconds(receiver: Receiver, header: str, seconds: float | None) -> None:
    receiver.answering = status(503, f"Retry-After: {header}")
    assert await post(receiver.url) == WebhookReply(503, seconds)


async def test_retry_after_is_read_as_a_date(receiver: Receiver) -> None:
    day = 86_400.0
    receiver.answering = status(429, f"Retry-After: {formatdate(time.time() + day, usegmt=True)}")
    reply = await post(receiver.url)
    assert reply.retry_after_seconds is not None
    assert 0 < reply.retry_after_seconds <= day


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ],
)
async def test_this_machine_is_found_out_under_every_spelling(receiver: Receiver, host: str) -> None:
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    reply = await post(f"https://{host}:{port}/hook", Permitted())
    assert reply.problem in (FORBIDDEN, UNRESOLVED)  # some systems do not know every spelling
    assert receiver.received == []


async def test_a_public_name_that_leads_inside_is_not_connected_to(receiver: Receiver) -> None:
    poster = Poster(Permitted(), Names(["127.0.0.1", "::1", "169.254.169.254"]))
    assert await poster.post("https://hooks.example/hook", {}, BODY) == WebhookReply(problem=FORBIDDEN)


async def test_a_name_that_leads_elsewhere_a_moment_later_is_judged_at_each_attempt(receiver: Receiver) -> None:
    """The address that was judged is the one that is connected to, so that there is no moment between the two."""
    poster = Poster(LOOPBACK, Names(["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]))
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    replies = [await poster.post(url, {}, BODY) for _ in range(3)]
    assert replies == [WebhookReply(204), WebhookReply(problem=FORBIDDEN), WebhookReply(204)]


async def test_of_several_addresses_those_are_used_that_may_be(receiver: Receiver) -> None:
    poster = Poster(LOOPBACK, Names(["10.0.0.1", "127.0.0.1"]))
    assert await poster.post(receiver.url.replace("127.0.0.1", "hooks.example"), {}, BODY) == WebhookReply(204)
    assert receiver.received[0].headers["host"].startswith("hooks.example:")


async def test_the_next_address_is_tried_if_one_does_not_answer(receiver: Receiver) -> None:
    poster = Poster(LOOPBACK, Names(["127.0.0.2", "127.0.0.1"]))
    assert await poster.post(receiver.url.replace("127.0.0.1", "hooks.example"), {}, BODY) == WebhookReply(204)


async def test_a_name_that_leads_nowhere_is_a_failure() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    poster = Poster(LOOPBACK, nowhere)
    assert await poster.post("http://hooks.example/", {}, BODY) == WebhookReply(problem=UNRESOLVED)
    assert await poster.problem_of("http://hooks.example/") == UNRESOLVED


@pytest.mark.parametrize("label", ["a" * 64, "a..b"])
async def test_a_name_that_can_be_none_is_a_failure(label: str) -> None:
    assert await post(f"http://{label}.example/") == WebhookReply(problem=UNRESOLVED)


async def test_a_problem_with_an_address_is_known_before_anything_is_sent(receiver: Receiver) -> None:
    assert await Poster(Permitted(), SystemResolver()).problem_of(receiver.url) == FORBIDDEN
    assert await Poster(LOOPBACK, SystemResolver()).problem_of(receiver.url) is None
    assert receiver.received == []


async def test_a_certificate_is_checked_against_the_name_and_the_authorities_that_are_trusted(tmp_path: Path) -> None:
    write_certificates(tmp_path, [Server("hooks", "127.0.0.1")])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "hooks.pem", tmp_path / "hooks-key.pem")
    async with receiving(context) as receiver:
        elsewhere = receiver.url.replace("127.0.0.1", "hooks.example")
        trusting = Poster(LOOPBACK, SystemResolver(), tmp_path / "ca.pem")
        mistaken = Poster(LOOPBACK, Names(["127.0.0.1"]), tmp_path / "ca.pem")

        assert await post(receiver.url) == WebhookReply(problem=FAILED)
        assert await mistaken.post(elsewhere, {}, BODY) == WebhookReply(problem=FAILED)
        assert await trusting.post(receiver.url, {}, BODY) == WebhookReply(204)
