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


def operations_of(found):
    return [door for doors in found["paths"].values() for door in doors.values()]


async def test_every_link_leads_to_an_operation_that_takes_its_parameters(bench) -> None:
    operations = operations_of(await described(bench))
    taken = {each["operationId"]: {given["name"] for given in each.get("parameters", ())} for each in operations}
    links = [
        link
        for each in operations
        for answer in each["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert {"create_batch", "cancel_batch", "cancel_response", "rotate_secret"} <= {
        each["operationId"] for each in links
    }
    for link in links:
        assert set(link.get("parameters", ())) <= taken[link["operationId"]]


async def test_every_operation_has_a_name_of_its_own(bench) -> None:
    names = [each["operationId"] for each in operations_of(await described(bench))]
    assert len(set(names)) == len(names)


async def test_no_header_and_no_parameter_may_be_null(bench) -> None:
    given = [each for door in operations_of(await described(bench)) for each in door.get("parameters", ())]
    assert given and '"null"' not in json.dumps(given)
    person = next(each["schema"] for each in given if each["name"] == "x-fleet-person")
    assert person["type"] == "string" and "pattern" in person
