"""The gateway describes itself truly: every door, its body, and every way in which it says no."""

from __future__ import annotations

import json
import re

DOORS = {
    ("get", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("post", "/v1/chat/completions"),
    ("post", "/v1/responses"),
    ("get", "/v1/responses/{response_id}"),
    ("delete", "/v1/responses/{response_id}"),
    ("post", "/v1/responses/{response_id}/cancel"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


async def described(bench):
    return (await bench.http.get("/openapi.json")).json()


async def test_every_door_is_described(bench) -> None:
    paths = (await described(bench))["paths"]
    assert {(method, path) for path, doors in paths.items() for method in doors} >= DOORS


async def test_every_error_has_openais_shape_and_none_the_frameworks(bench) -> None:
    found = await described(bench)
    assert "HTTPValidationError" not in json.dumps(found)
    for path, doors in found["paths"].items():
        for door in doors.values():
            errors = {status: each for status, each in door["responses"].items() if status[0] != "2"}
            assert errors, path
            for each in errors.values():
                assert each["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


async def test_every_reference_leads_somewhere(bench) -> None:
    found = await described(bench)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert named <= set(found["components"]["schemas"])
    assert "$defs" not in json.dumps(found)


async def test_the_bodies_are_those_that_are_read(bench) -> None:
    found = await described(bench)
    for path, name in (("/v1/chat/completions", "ChatBody"), ("/v1/responses", "ResponseBody")):
        body = found["paths"][path]["post"]["requestBody"]
        assert body["required"] is True
        assert body["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert found["components"]["schemas"][name]["additionalProperties"] is False
