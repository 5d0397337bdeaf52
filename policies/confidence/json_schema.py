"""Whether a JSON value breaks a JSON Schema, for the words that describe an answer's shape.

Structured outputs use a small part of JSON Schema; keywords outside it are not judged, so that a schema this module
does not know in full can only let an answer through, never refuse a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
"""Deeper than any answer worth checking; a schema that refers to itself in literal form cannot run away."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def violates(value: Any, schema: Any, depth: int = 0) -> bool:
    """Whether `value` certainly breaks `schema`. What cannot be judged here (references, patterns) does not."""
    if schema is False:
        return True
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return False
    if "const" in schema and value != schema["const"]:
        return True
    if isinstance(allowed := schema.get("enum"), list) and value not in allowed:
        return True
    if isinstance(any_of := schema.get("anyOf"), list) and all(violates(value, each, depth + 1) for each in any_of):
        return True
    return _wrong_type(value, schema.get("type")) or _breaks_bounds(value, schema) or _inside(value, schema, depth)


def _wrong_type(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list) or not all(name in _TYPES for name in names):
        return False
    return not any(_is(value, name) for name in names)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _breaks_bounds(value: Any, schema: Mapping[str, Any]) -> bool:
    match value:
        case bool():
            return False
        case int() | float():
            return _outside(value, schema.get("minimum"), schema.get("maximum"))
        case str():
            return _outside(len(value), schema.get("minLength"), schema.get("maxLength"))
        case list():
            return _outside(len(value), schema.get("minItems"), schema.get("maxItems"))
        case _:
            return False


def _outside(size: float, low: Any, high: Any) -> bool:
    return (isinstance(low, int | float) and size < low) or (isinstance(high, int | float) and size > high)


def _inside(value: Any, schema: Mapping[str, Any], depth: int) -> bool:
    if isinstance(value, list):
        first = prefix if isinstance(prefix := schema.get("prefixItems"), list) else []
        rest_of = [(item, schema.get("items")) for item in value[len(first) :]]
        return any(violates(item, each, depth + 1) for item, each in [*zip(value, first, strict=False), *rest_of])
    if not isinstance(value, dict):
        return False
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    if isinstance(required, list) and any(name not in value for name in required):
        return True
    rest = None if "patternProperties" in schema else schema.get("additionalProperties")
    return any(violates(item, known.get(name, rest), depth + 1) for name, item in value.items())
