"""Makes the description of the API say what the doors do: the bodies they read themselves, and their errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from fleet.gateway.errors import ErrorBody

_COMPONENTS = "#/components/schemas/"

_SCHEMAS: dict[str, Any] = {}
"""The schemas that FastAPI does not find by itself, by name."""

Responses = dict[int | str, dict[str, Any]]


def _as_json(model: type[Any]) -> dict[str, Any]:
    schema = TypeAdapter(model).json_schema(ref_template=_COMPONENTS + "{model}", by_alias=True)
    _SCHEMAS.update(schema.pop("$defs", {}))
    _SCHEMAS[model.__name__] = schema
    return {"application/json": {"schema": {"$ref": _COMPONENTS + model.__name__}}}


_ERROR = _as_json(ErrorBody)


def error_responses(*statuses: int) -> Responses:
    """Return the descriptions of answers that are no success.

    They name the schema: given the model, FastAPI would make a validator of it for every status of every door.
    """
    return {status: {"content": _ERROR} for status in statuses}


def leads_to(parameter: str, *operations: str, value: str = "$response.body#/id") -> dict[str, Any]:
    """Return the description of an answer that holds, as `value`, this parameter of the operations."""
    links = {each: {"operationId": each, "parameters": {parameter: value}} for each in operations}
    return {"links": links}


STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}
"""The answer as server-sent events, beside the one as JSON. A schema would be one of each event for some readers."""


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a door that reads a body of this model itself, by `fleet.gateway.body`."""
    return {"requestBody": {"required": True, "content": _as_json(model)}}


def _parameters(described: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for doors in described["paths"].values():
        for door in doors.values():
            yield from door.get("parameters", ())


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without null: a header or a parameter of a query is a text, or is not there."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest, **kinds[0]}


def describe(app: FastAPI) -> None:
    """Let the application describe itself with these schemas."""
    framework = app.openapi

    def openapi() -> Mapping[str, Any]:
        described = framework()
        for parameter in _parameters(described):
            parameter["schema"] = _present(parameter["schema"])
        described.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS)
        return described

    app.openapi = openapi  # type: ignore[method-assign, assignment]  # FastAPI's own way
