"""What leaves the process beside the request, and how much of a reply comes in, through the real SDKs over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import anthropic
import groq
import openai
import pytest
from fault_server import Scripted, anthropic_message, chat_completion
from structlog.testing import capture_logs

from fleet.model.attempt import Answer, FailureKind
from fleet.model.call import Call
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build, transport
from fleet.providers.transport import MOST_REPLY_BYTES

CALL = Call({"messages": [{"role": "user", "content": "Capital of France?"}]}, 30.0)
SENT = {
    "host", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "connection",
    "authorization", "x-api-key", "anthropic-version",
}  # fmt: skip
MARK = "AMBIENT"


def variables_of_the_sdks():
    """Every variable that the installed SDKs read."""
    found = set()
    for sdk in (openai, anthropic, groq):
        for path in Path(sdk.__file__).parent.rglob("*.py"):
            found |= set(re.findall(r"[\"']((?:OPENAI|ANTHROPIC|GROQ|CLAUDE)_[A-Z_]+)[\"']", path.read_text()))
    assert found >= {"OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "ANTHROPIC_AUTH_TOKEN"}
    return sorted(found)


def good(provider):
    return json.dumps(anthropic_message("Hi", "m") if provider == "anthropic" else chat_completion("Hi", "m")).encode()


@pytest.mark.parametrize("reference", [None, "mine"])
async def test_nothing_of_the_environment_goes_along(
    monkeypatch, tmp_path, fault_server, target, outcomes, keys, provider, reference
):
    for name in variables_of_the_sdks():
        monkeypatch.setenv(name, f"X-Mark: {MARK}\nAuthorization: {MARK}" if name.endswith("HEADERS") else MARK)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "nonsense://127.0.0.1:1")
    (tmp_path / "netrc").write_text(f"default login {MARK} password {MARK}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "netrc"))
    backend = build(target(provider), ProviderSettings(fault_server.base_urls), EnvironmentKeyRing(keys))

    [outcome] = await outcomes(backend, Call(CALL.request, 30.0, own_key=reference))
    await backend.close()

    assert isinstance(outcome, Answer)
    [request] = fault_server.received
    assert set(request.headers) <= SENT
    assert MARK not in repr(request)
    assert request.headers["user-agent"] == "fleet"


async def test_a_cookie_set_for_one_caller_is_sent_by_no_other(backend, fault_server, outcomes):
    fault_server.headers = {"set-cookie": "sid=of-the-first-caller; Path=/"}
    await outcomes(backend, CALL)
    await outcomes(backend, Call(CALL.request, 30.0, own_key="mine"))
    assert [request.headers.get("cookie") for request in fault_server.received] == [None, None]


async def test_calls_at_the_same_time_keep_their_own_keys(backend, fault_server, outcomes, keys, provider):
    calls = [Call(CALL.request, 30.0, own_key=reference) for reference in (None, "mine") * 4]
    await outcomes(backend, *calls)
    sent = [
        request.headers.get("authorization", request.headers.get("x-api-key", "")).removeprefix("Bearer ")
        for request in fault_server.received
    ]
    names = (f"{provider.upper()}_API_KEY", f"FLEET_KEY_{provider.upper()}_mine")
    assert {name: sent.count(keys[name]) for name in names} == dict.fromkeys(names, 4)


@dataclass
class Endless:
    """A server that writes `head` and then `piece` for ever; `sent` counts bytes until the client leaves."""

    head: bytes
    piece: bytes
    pause: float = 0.0
    sent: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.urls = dict.fromkeys(("openai", "groq", "anthropic"), url)
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.head)
            while True:
                writer.write(self.piece)
                await writer.drain()
                self.sent += len(self.piece)
                await asyncio.sleep(self.pause)
        writer.close()
        self.over.set()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


STATUS = {200: b"HTTP/1.1 200 OK\r\n", 500: b"HTTP/1.1 500 Oops\r\n", 401: b"HTTP/1.1 401 No\r\n"}
CHUNKED = b"content-type: application/json\r\ntransfer-encoding: chunked\r\n"
MEGABYTE = chunk(b" " * 0x100000)
BOMB = gzip.compress(b" " * (4 * MOST_REPLY_BYTES), 9)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (STATUS[200] + CHUNKED + b"\r\n", MEGABYTE),
        (STATUS[500] + CHUNKED + b"\r\n", MEGABYTE),
        (STATUS[401] + CHUNKED + b"\r\n", MEGABYTE),
        (STATUS[200] + b"content-type: text/event-stream\r\n\r\n", b": keep-alive\n\n" * 9999),
        (STATUS[200] + b"content-type: application/json\r\n\r\n", b" " * 0x100000),
        (STATUS[200] + b"content-length: 99999999999\r\n\r\n", b" " * 0x100000),
        (STATUS[200] + CHUNKED + b"content-encoding: gzip\r\n\r\n", chunk(BOMB)),
        (STATUS[200] + CHUNKED + b"content-encoding: br\r\n\r\n", MEGABYTE),
        (STATUS[200] + CHUNKED + b"content-encoding: zstd, gzip\r\n\r\n", MEGABYTE),
        (STATUS[200] + CHUNKED + b"content-encoding: gzip\r\n\r\n", MEGABYTE),
    ],
    ids=[
        "chunked", "of an error", "of a refusal", "keep-alives", "until closed", "with a length", "gzip bomb", "brotli",
        "several codings", "no gzip",
    ],
)  # fmt: skip
async def test_a_reply_without_end_is_malformed_and_read_no_further_than_the_limit(
    target, outcomes, keys, provider, head, piece
):
    async with Endless(head, piece) as server:
        backend = build(target(provider), ProviderSettings(server.urls), EnvironmentKeyRing(keys))
        [failure] = await outcomes(backend, CALL)
        await server.over.wait()
        await backend.close()
    assert failure.kind is FailureKind.MALFORMED
    assert server.sent <= MOST_REPLY_BYTES + 0x1000000  # what the sockets hold


@pytest.mark.parametrize("head", [STATUS[200], STATUS[200] + CHUNKED + b"\r\n0\r\n"], ids=["headers", "trailers"])
async def test_headers_without_end_break_the_connection(target, outcomes, keys, provider, head):
    async with Endless(head, b"x-more: " + b"a" * 1000 + b"\r\n") as server:
        backend = build(target(provider), ProviderSettings(server.urls), EnvironmentKeyRing(keys))
        [failure] = await outcomes(backend, CALL)
        await server.over.wait()
        await backend.close()
    assert failure.kind in (FailureKind.CONNECTION, FailureKind.MALFORMED)


async def test_a_reply_that_drips_ends_with_the_calls_time(target, outcomes, keys, provider):
    async with Endless(STATUS[200] + CHUNKED + b"\r\n", chunk(b" "), pause=0.01) as server:
        backend = build(target(provider), ProviderSettings(server.urls), EnvironmentKeyRing(keys))
        [failure] = await outcomes(backend, Call(CALL.request, 0.3))
        await server.over.wait()
        await backend.close()
    assert failure.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("pack", [gzip.compress, lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])])
async def test_a_compressed_answer_is_read(backend, outcomes, fault_server, provider, pack):
    body = pack(good(provider))
    fault_server.script(Scripted(body=body, headers={"content-encoding": "gzip", "content-length": str(len(body))}))
    [answer] = await outcomes(backend, CALL)
    assert answer.text == "Hi"


async def test_half_of_a_compressed_answer_is_malformed(backend, outcomes, fault_server, provider):
    body = gzip.compress(good(provider))[:-12]
    fault_server.script(Scripted(body=body, headers={"content-encoding": "gzip", "content-length": str(len(body))}))
    [failure] = await outcomes(backend, CALL)
    assert failure.kind is FailureKind.MALFORMED


async def test_a_compressed_refusal_is_understood(backend, outcomes, fault_server):
    body = gzip.compress(b'{"error": {"message": "slow down"}}')
    fault_server.script(Scripted(429, body, {"content-encoding": "gzip", "content-length": str(len(body))}))
    [failure] = await outcomes(backend, CALL)
    assert failure.kind is FailureKind.RATE_LIMITED


def test_unpacking_never_makes_more_than_is_asked_for():
    unpacker = transport._Gzip()
    with pytest.raises(transport.UnusableReply):
        unpacker.unpack(zlib.compress(b"") + BOMB, 10)
    with pytest.raises(transport.UnusableReply):
        transport._Gzip().unpack(BOMB, 10)


@pytest.fixture
def forgetful():
    """As in a new process: nothing has been told yet."""
    transport._note_unusable.cache_clear()
    transport._note_ambient.cache_clear()


UNUSABLE = ["nonsense://proxy:1", "socks5://127.0.0.1:1", "http://", "http://[::1", "proxy:8080"]


@pytest.mark.parametrize("proxy_url", UNUSABLE)
async def test_no_call_passes_an_unusable_proxy_by_and_one_line_says_so(
    proxy_url, fault_server, target, outcomes, keys, forgetful
):
    settings = ProviderSettings(fault_server.base_urls, proxy_url=proxy_url.replace("//", "//user:s3cr3t@"))
    with capture_logs() as lines:
        for name in ("openai", "anthropic", "groq", "openai"):
            backend = build(target(name), settings, EnvironmentKeyRing(keys))
            [failure] = await outcomes(backend, CALL)
            await backend.close()
            assert failure.kind is FailureKind.CONNECTION
    assert fault_server.received == []
    [line] = lines
    assert (line["event"], line["log_level"], line["settings"]) == ("providers_not_called", "error", ["proxy"])
    assert "s3cr3t" not in str(line)


async def test_certificates_that_cannot_be_read_stop_calls_and_no_dispatcher(
    tmp_path, fault_server, target, outcomes, keys, forgetful, provider
):
    settings = ProviderSettings(fault_server.base_urls, ca_path=tmp_path / "nowhere.pem")
    with capture_logs() as lines:
        backend = build(target(provider), settings, EnvironmentKeyRing(keys))
        [failure] = await outcomes(backend, CALL)
        await backend.close()
    assert failure.kind is FailureKind.CONNECTION
    [line] = lines
    assert (line["event"], line["log_level"], line["settings"]) == ("providers_not_called", "error", ["CA file"])


async def test_the_proxy_of_the_settings_is_used(fault_server, target, outcomes, keys, provider):
    """Over plain HTTP a proxy gets the whole address of what is asked for."""
    nowhere = dict.fromkeys(("openai", "groq", "anthropic"), "http://provider.invalid")
    settings = ProviderSettings(nowhere, proxy_url=fault_server.url)
    backend = build(target(provider), settings, EnvironmentKeyRing(keys))
    await outcomes(backend, CALL)
    await backend.close()
    assert fault_server.received[0].path.startswith("http://provider.invalid/")
    assert fault_server.received[0].headers["host"] == "provider.invalid"


async def test_an_ignored_proxy_of_the_environment_is_told_once(monkeypatch, target, keys, forgetful):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cr3t@proxy:1")
    with capture_logs() as lines:
        for name in ("openai", "anthropic", "groq"):
            await build(target(name), ProviderSettings(), EnvironmentKeyRing(keys)).close()
    [line] = lines
    assert (line["event"], line["variables"]) == ("ambient_proxy_not_used", ["HTTPS_PROXY"])
    assert "s3cr3t" not in str(line)
