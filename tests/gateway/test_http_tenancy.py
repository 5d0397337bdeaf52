"""Who gets what over HTTP: every request of the API with every kind of key. Each attempt is a real one.

The answers are left in build/http-tenancy.json; docs/how-to/keys.md shows them as a table.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from two_tenants import Tenant, TwoTenants, two_tenants

from fleet.gateway.app import OPEN, application
from fleet.model.api_key import Scope, issue

REPORT = Path("build/http-tenancy.json")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "keys.md"

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
LINE = json.dumps({"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}).encode()
EVENTS = ["batch.completed"]
UPLOAD = {"data": {"purpose": "batch"}, "files": {"file": ("rows.jsonl", LINE)}}


@dataclass(frozen=True)
class Operation:
    """A request of the API: its method and path, as the gateway's own description names them."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names_an_object(self) -> bool:
        return "{" in self.path and "{model}" not in self.path


def sent_by(operation: Operation, ids: Mapping[str, str]) -> dict[str, Any]:
    """The body of a request that is good, about what these ids name."""
    batch = {"input_file_id": ids["file_id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return {
        "POST /v1/chat/completions": {"json": CHAT},
        "POST /v1/responses": {"json": {"model": "auto", "input": "Hello."}},
        "POST /v1/files": UPLOAD,
        "POST /v1/batches": {"json": batch},
        "POST /v1/webhook_endpoints": {"json": {"name": "hook", "url": ids["url"], "event_types": EVENTS}},
        "POST /v1/webhook_endpoints/{webhook_endpoint_id}": {"json": {"name": "hook"}},
        "POST /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret": {"json": {}},
        "POST /v1/webhook_endpoints/{webhook_endpoint_id}/test": {"json": {"event_type": EVENTS[0]}},
    }.get(str(operation), {})


async def objects_of(tenant: Tenant) -> dict[str, str]:
    """New objects of the tenant, by the name that paths give them."""
    file = (await tenant.http.post("/v1/files", **UPLOAD)).json()["id"]  # type: ignore[arg-type]
    batch = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    response = {"model": "auto", "input": "Hello.", "background": True}
    url = f"{tenant.url}/healthz"
    hook = {"name": "hook", "url": url, "event_types": EVENTS}
    there = (await tenant.http.get("/v1/webhook_endpoints")).json()["data"]  # a tenant may have a few
    return {
        "model": "auto",
        "url": url,
        "webhook_endpoint_id": there[0]["id"]
        if there
        else (await tenant.http.post("/v1/webhook_endpoints", json=hook)).json()["id"],
        "file_id": file,
        "batch_id": (await tenant.http.post("/v1/batches", json=batch)).json()["id"],
        "response_id": (await tenant.http.post("/v1/responses", json=response)).json()["id"],
    }


def operations(app: FastAPI) -> Iterator[Operation]:
    """Every request that needs a key, as the application describes itself."""
    is_open = {route.path for router in OPEN for route in router.routes}  # type: ignore[attr-defined]
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            if path not in is_open and path != "/openapi.json":
                yield Operation(method.upper(), path)


@pytest.fixture
async def both() -> AsyncIterator[TwoTenants]:
    async with two_tenants() as both:
        yield both


async def keys_of_strangers(both: TwoTenants) -> dict[str, str | None]:
    """A key of each kind that opens nothing."""
    expired, expired_text = issue("e" * 16, "e" * 43, "acme", "", Scope, 0.0, 1.0)
    revoked, revoked_text = issue("d" * 16, "d" * 43, "acme", "", Scope, 0.0, None)
    for key in (expired, revoked):
        await both.keys.add(key)
    await both.keys.revoke(revoked.id, 1.0)
    await both.new_key(77, "acme", frozenset())  # the last change, so that the gateway knows all before it
    _, unknown = issue("a" * 16, "a" * 43, "acme", "", Scope, 0.0, None)
    wrong = both.acme.key[:-1] + ("x" if both.acme.key[-1] != "x" else "y")
    return {"none": None, "unknown": unknown, "wrong": wrong, "expired": expired_text, "revoked": revoked_text}


async def attempt(both: TwoTenants, operation: Operation, key: str | None) -> tuple[httpx.Response, dict[str, str]]:
    """The answer to a request about new objects of acme, whoever's key it comes with, and their ids."""
    ids = await objects_of(both.acme)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=both.url, timeout=None, verify=False, headers=headers) as client:
        path = operation.path.format_map(ids)
        return await client.request(operation.method, path, **sent_by(operation, ids)), ids


SCOPES = {
    "chat": Scope.JOBS,
    "responses": Scope.JOBS,
    "webhook_endpoints": Scope.WEBHOOKS,
    "webhook_event_types": Scope.WEBHOOKS,
    "models": None,
}


def scope_of(operation: Operation) -> Scope | None:
    door = operation.path.split("/")[2]
    return SCOPES[door] if door in SCOPES else Scope(door)


async def row_of(both: TwoTenants, operation: Operation, strangers: Mapping[str, str | None], number: int) -> list[str]:
    """The request, and the status for its own key, another tenant's, one without the scope, and the strangers'."""
    own, _ = await attempt(both, operation, both.acme.key)
    others, ids = await attempt(both, operation, both.beta.key)
    assert not (set(ids.values()) - {"auto", ids["url"]}) & set(_words(others)) or others.status_code == 404
    scope = scope_of(operation)
    lesser_key = await both.new_key(number, "acme", frozenset(Scope) - {scope} if scope else frozenset())
    lesser, _ = await attempt(both, operation, lesser_key)
    statuses = {(await attempt(both, operation, key))[0].status_code for key in strangers.values()}
    cells = [own.status_code, others.status_code, lesser.status_code, *statuses]
    return [f"`{operation}`", *map(str, cells)]


def _words(response: httpx.Response) -> list[str]:
    return response.text.replace('"', " ").split()


def expected_of(operation: Operation, both_get: str) -> list[str]:
    """A stranger gets 401, a key without the scope 403, and what is another tenant's is 404."""
    others = "404" if operation.names_an_object or operation == Operation("POST", "/v1/batches") else both_get
    lesser = "403" if scope_of(operation) else both_get
    return [f"`{operation}`", both_get, others, lesser, "401"]


def rendered(rows: Sequence[Sequence[str]]) -> str:
    head = ["request", "own key", "another tenant's", "without the scope", "none, unknown, wrong, expired, revoked"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("| --- ", "|---").replace("|--- |", "|---|") for cells in lines)


def write_report(rows: Sequence[Sequence[str]]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=2) + "\n")


async def test_every_request_is_answered_by_whose_key_it_comes_with(both: TwoTenants) -> None:
    strangers = await keys_of_strangers(both)
    asked = list(operations(application(_nothing())))

    rows = [await row_of(both, each, strangers, 100 + number) for number, each in enumerate(asked)]

    write_report(rows)
    assert rows == [expected_of(each, row[1]) for each, row in zip(asked, rows, strict=True)]
    assert {row[1] for row in rows} == {"200"}
    assert rendered(rows) in PAGE.read_text()


def _nothing() -> Any:
    """What opens no doors, for an application that only describes itself."""


@pytest.mark.parametrize(
    "claim",
    [
        {"headers": {"openai-organization": "acme", "openai-project": "acme", "x-fleet-tenant": "acme"}},
        {"headers": {"x-tenant": "acme", "x-forwarded-user": "acme", "cookie": "tenant=acme"}},
        {"params": {"tenant": "acme"}},
    ],
    ids=["OpenAI's headers", "other headers", "a parameter"],
)
async def test_nothing_but_the_key_says_whose_request_it_is(both: TwoTenants, claim: dict[str, Any]) -> None:
    ids = await objects_of(both.acme)

    for path in ("/v1/files", "/v1/batches"):
        listed = await both.beta.http.get(path, **claim)
        assert listed.json()["data"] == []
    for path in (
        f"/v1/files/{ids['file_id']}",
        f"/v1/batches/{ids['batch_id']}",
        f"/v1/responses/{ids['response_id']}",
    ):
        assert (await both.beta.http.get(path, **claim)).status_code == 404


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"authorization": "Basic {key}"}, {}),
        ({"authorization": "{key}"}, {}),
        ({"authorization": "Bearer  {key}x"}, {}),
        ({"api-key": "{key}"}, {}),
        ({"x-api-key": "{key}"}, {}),
        ({}, {"api_key": "{key}"}),
        ({"cookie": "key={key}"}, {}),
    ],
)
async def test_a_key_counts_only_where_keys_are_sent(
    both: TwoTenants, headers: dict[str, str], params: dict[str, str]
) -> None:
    said = {name: text.format(key=both.acme.key).encode("latin-1") for name, text in headers.items()}
    asked = {name: text.format(key=both.acme.key) for name, text in params.items()}
    async with httpx.AsyncClient(base_url=both.url, timeout=None, verify=False, headers=said) as client:
        assert (await client.get("/v1/models", params=asked)).status_code == 401


@pytest.mark.parametrize("path", ["/v1/files/{file_id}", "/v1/batches/{batch_id}", "/v1/files/{file_id}/content"])
async def test_nobody_can_tell_anothers_object_from_one_that_is_not_there(both: TwoTenants, path: str) -> None:
    ids = await objects_of(both.acme)
    absent = {name: f"{text[:6]}{'0' * (len(text) - 6)}" for name, text in ids.items()}

    anothers, nobodys = [await both.beta.http.get(path.format_map(each)) for each in (ids, absent)]

    assert (anothers.status_code, nobodys.status_code) == (404, 404)
    for name in ids:
        anothers_text, nobodys_text = (
            text.replace(ids[name], "ID").replace(absent[name], "ID") for text in (anothers.text, nobodys.text)
        )
        if "ID" in anothers_text:
            assert anothers_text == nobodys_text


@pytest.mark.parametrize(("path", "name"), [("/v1/files", "file_id"), ("/v1/batches", "batch_id")])
async def test_no_list_goes_on_after_an_object_of_another_tenant(both: TwoTenants, path: str, name: str) -> None:
    ids = await objects_of(both.acme)
    assert (await both.beta.http.get(path, params={"after": ids[name]})).status_code == 404


async def test_the_same_idempotency_key_of_two_tenants_makes_two_batches(both: TwoTenants) -> None:
    made = []
    for tenant in (both.acme, both.beta):
        ids = await objects_of(tenant)
        sent = sent_by(Operation("POST", "/v1/batches"), ids)
        made.append(await tenant.http.post("/v1/batches", **sent, headers={"idempotency-key": "night-4"}))

    assert [each.status_code for each in made] == [200, 200]
    assert made[0].json()["id"] != made[1].json()["id"]
