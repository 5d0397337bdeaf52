"""Every answer that is no success has OpenAI's shape, whoever makes it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from gateways import doors_to, gateway

from fleet.gateway import app
from fleet.gateway.caller import Caller
from fleet.model.api_key import Scope
from fleet.model.errors import QueueUnavailable
from fleet.testing import MemoryFleet, Unanswered

ERROR = {"message", "type", "param", "code"}

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


class OneKey:
    """Keys of which there is one."""

    async def find(self, secret: str) -> Caller | None:
        return Caller("acme", "k1", frozenset(Scope)) if secret == "right" else None


def shape(answer: httpx.Response) -> tuple[int, str, str | None]:
    """The status, the type and the code, of an error that has all of its fields."""
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == ERROR and body["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    return answer.status_code, body["error"]["type"], body["error"]["code"]


async def test_a_path_that_is_not_there(bench) -> None:
    for path in ("/v1/embeddings", "/v1/models/", "/", "/v1//models"):
        assert shape(await bench.http.get(path)) == (404, "not_found_error", "unknown_url")


async def test_a_method_that_a_path_has_not_is_told_those_that_it_has(bench) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await bench.http.request(method, "/v1/models")
        assert shape(answer) == (405, "invalid_request_error", "method_not_allowed")
        assert answer.headers["allow"] == "GET"


async def test_a_model_that_nobody_has(bench) -> None:
    answer = await bench.http.get("/v1/models/gpt-17")
    assert shape(answer) == (404, "not_found_error", "model_not_found")
    assert "auto, " in answer.json()["error"]["message"]


async def test_a_broker_that_is_away_is_no_fault_of_the_caller_and_worth_another_try(bench) -> None:
    bench.tenants.refuses = QueueUnavailable("NATS does not answer at nats://u:secret@127.0.0.1:9")
    answer = await bench.http.get("/readyz")
    assert shape(answer) == (503, "server_error", "queue_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "nats" not in answer.text
    assert (await bench.http.get("/healthz")).json() == {"status": "ok"}


async def test_a_bug_is_answered_and_quotes_nothing(bench) -> None:
    bench.tenants.refuses = RuntimeError("the prompt was: hello")
    answer = await bench.http.get("/readyz")
    assert shape(answer) == (500, "server_error", "internal_error")
    assert "hello" not in answer.text
    bench.tenants.refuses = None
    assert (await bench.http.get("/readyz")).status_code == 200


@pytest.mark.parametrize("given", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic cmlnaHQ="}])
async def test_who_has_no_key_in_force_is_turned_away(given: dict[str, str]) -> None:
    async with MemoryFleet({}) as fleet, gateway(doors_to(fleet, OneKey())) as url, httpx.AsyncClient() as http:
        answer = await http.get(f"{url}/v1/models", headers=given)
        assert shape(answer) == (401, "authentication_error", "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        admitted = await http.get(f"{url}/v1/models", headers={"authorization": "Bearer right"})
        assert admitted.status_code == 200


async def test_without_keys_a_page_from_elsewhere_does_not_come_in_by_a_name_of_its_own(bench) -> None:
    answer = await bench.http.get("/v1/models", headers={"host": "rebound.example"})
    assert shape(answer) == (403, "permission_error", "wrong_host")
    port = bench.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert (await bench.http.get("/v1/models", headers={"host": host})).status_code == 200


async def test_a_gateway_with_too_many_requests_under_way_refuses_the_next(bench, monkeypatch) -> None:
    monkeypatch.setattr(app, "MOST_UNDER_WAY", 1)
    bench.script.reply = Unanswered()
    waiting = asyncio.ensure_future(bench.http.post("/v1/chat/completions", json=ASKED))
    job = await bench.script.arrived.get()
    answer = await bench.http.get("/v1/models")
    assert shape(answer) == (503, "server_error", "overloaded")
    assert answer.headers["retry-after"] == "1"
    await bench.doors.client("acme").cancel(job.id)
    assert (await waiting).status_code == 409
    assert (await bench.http.get("/v1/models")).status_code == 200
