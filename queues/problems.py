"""From a validation error to the Problem a publisher reads: the field's path in its own JSON, and the rule."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fleet.model.result import Problem

MAX_PATH_CHARS = 200
"""Names of unknown fields come from the publisher, so the path that repeats one is cut."""


def field_problem(field: str, rule: str) -> Problem:
    field = field[:MAX_PATH_CHARS]
    return Problem(f"{field}: {rule}", field, rule)


def problem_of(error: ValidationError, body: object) -> Problem:
    """The first field in `body` that breaks a rule; where it may take several shapes, the one that fits furthest."""
    errors = error.errors(include_url=False, include_input=False)
    paths = [_path(details, body) for details in errors]
    first = paths[0]
    inside = [index for index, path in enumerate(paths) if path[: len(first)] == first]
    chosen = max(inside, key=lambda index: len(paths[index]))
    path, rule = paths[chosen], _rule(errors[chosen])
    if errors[chosen]["type"].startswith("union_tag"):
        path = [*path, errors[chosen]["ctx"]["discriminator"].strip("'")]
    return field_problem(".".join(str(step) for step in path), rule)


def _path(details: ErrorDetails, body: object) -> list[int | str]:
    """Where the error is in `body`, without the names pydantic adds for the branches of a union."""
    path: list[int | str] = []
    at: Any = body  # Any: JSON
    for step in details["loc"]:
        is_key = isinstance(at, dict) and step in at
        is_index = isinstance(at, list) and isinstance(step, int) and step < len(at)
        if is_key or is_index:
            path.append(step)
            at = at[step]
    return [*path, details["loc"][-1]] if details["type"] == "missing" else path


_SHOULD = re.compile(r"^[A-Z]\w* should ")


def _rule(details: ErrorDetails) -> str:
    match details["type"]:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden":
            return "is not a known field"
        case "union_tag_invalid":
            return f"must be one of {details['ctx']['expected_tags']}"
        case "value_error":
            return str(details["ctx"]["error"])
        case _:
            return _SHOULD.sub("must ", str(details["msg"]))
