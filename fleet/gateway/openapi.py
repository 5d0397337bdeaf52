"""Makes the description of the API say what the doors do: the bodies they read themselves, and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from fleet.gateway.errors import ErrorBody

_COMPONENTS = "#/components/schemas/"

_BODIES: dict[str, Any] = {}
"""The schemas of bodies that doors read themselves, by name."""

Responses = dict[int | str, dict[str, Any]]


def error_responses(*statuses: int) -> Responses:
    """Return the descriptions of answers that are no success."""
    return {status: {"model": ErrorBody} for status in statuses}


STREAM: dict[str, Any] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
"""The answer as server-sent events, beside the one as JSON."""


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a door that reads a body of this model itself, by `fleet.gateway.body`."""
    schema = model.model_json_schema(ref_template=_COMPONENTS + "{model}", by_alias=True)
    _BODIES.update(schema.pop("$defs", {}))
    _BODIES[model.__name__] = schema
    content = {"application/json": {"schema": {"$ref": _COMPONENTS + model.__name__}}}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI) -> None:
    """Let the application describe itself with these bodies."""
    framework = app.openapi

    def openapi() -> Mapping[str, Any]:
        described = framework()
        described.setdefault("components", {}).setdefault("schemas", {}).update(_BODIES)
        return described

    app.openapi = openapi  # type: ignore[method-assign, assignment]  # FastAPI's own way
