"""A check whether a JSON value breaks a JSON Schema, for the keywords that describe an answer's shape.

Structured outputs use a small part of JSON Schema; keywords outside it are not judged, so that a schema this module
does not know in full can only let an answer through, never refuse a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 64
"""Maximum depth, more than any answer worth checking; a schema that refers to itself literally cannot run away."""

MAX_STEPS = 100_000
"""Maximum comparisons spent on one answer, some 50 ms. Schema and prompt are the tenant's: a wide schema times a long
answer would keep a dispatcher from everything else for many seconds.
"""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


@dataclass(slots=True)
class _Patience:
    """A count of the steps left."""

    steps: int = MAX_STEPS

    def lasts(self, steps: int) -> bool:
        self.steps -= steps
        return self.steps >= 0


def violates(value: Any, schema: Any) -> bool:
    """Return whether `value` certainly breaks `schema`. What cannot be judged here (references, patterns) does not."""
    return _violates(value, schema, 0, _Patience())


def _violates(value: Any, schema: Any, depth: int, patience: _Patience) -> bool:
    if schema is False:
        return True
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH or not patience.lasts(1):
        return False
    if "const" in schema and value != schema["const"]:
        return True
    if isinstance(allowed := schema.get("enum"), list) and patience.lasts(len(allowed)) and value not in allowed:
        return True
    any_of = schema.get("anyOf")
    if isinstance(any_of, list) and all(_violates(value, each, depth + 1, patience) for each in any_of):
        return True
    if _wrong_type(value, schema.get("type")) or _breaks_bounds(value, schema):
        return True
    return _inside(value, schema, depth, patience)


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


def _inside(value: Any, schema: Mapping[str, Any], depth: int, patience: _Patience) -> bool:
    if isinstance(value, list):
        first = prefix if isinstance(prefix := schema.get("prefixItems"), list) else []
        rest_of = [(item, schema.get("items")) for item in value[len(first) :]]
        return any(
            _violates(item, each, depth + 1, patience) for item, each in [*zip(value, first, strict=False), *rest_of]
        )
    if not isinstance(value, dict):
        return False
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    if isinstance(required, list) and any(name not in value for name in required):
        return True
    rest = None if "patternProperties" in schema else schema.get("additionalProperties")
    return any(_violates(item, known.get(name, rest), depth + 1, patience) for name, item in value.items())
