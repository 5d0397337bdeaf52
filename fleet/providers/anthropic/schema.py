"""JSON Schemas in the form that Anthropic's structured outputs accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anthropic import transform_schema

from fleet.model.errors import InvalidJob

_SCHEMAS = ("items", "not")
_LISTS = ("anyOf", "oneOf", "allOf")
_ABOUT = ("title", "description", "$defs")
_NAMED = ("properties", "$defs", "definitions")


def schema_at(path: str, schema: Any) -> dict[str, Any]:
    """Return the schema as the SDK writes it for the API.

    Raises: InvalidJob for `path` if the API cannot express it.
    """
    try:
        written: dict[str, Any] = transform_schema(_single_types(schema))
    except (Exception, RecursionError):  # the SDK asserts on what it cannot express, with errors of several kinds
        raise InvalidJob(path, "cannot be expressed at anthropic") from None
    return written


def _single_types(schema: Any) -> Any:
    """Return the schema with each list of types as `anyOf`, which the SDK knows, and a missing "object" added."""
    if not isinstance(schema, Mapping):
        return schema
    found = dict(schema)
    found |= {name: _single_types(found[name]) for name in _SCHEMAS if name in found}
    found |= {name: [_single_types(each) for each in found[name]] for name in _LISTS if name in found}
    found |= {name: _each(found[name]) for name in _NAMED if name in found}
    if "type" not in found and "properties" in found:
        found["type"] = "object"
    types = found.get("type")
    return _any_of(found, types) if isinstance(types, list) else found


def _each(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _single_types(schema) for name, schema in schemas.items()}


def _any_of(schema: dict[str, Any], types: list[str]) -> dict[str, Any]:
    if len(types) == 1 or "enum" in schema or "const" in schema:  # the values say more than the types
        return {**schema, "type": types[0]}
    about: dict[str, Any] = {name: schema[name] for name in _ABOUT if name in schema}
    rest = {name: value for name, value in schema.items() if name not in about}
    return {**about, "anyOf": [{"type": "null"} if each == "null" else {**rest, "type": each} for each in types]}
