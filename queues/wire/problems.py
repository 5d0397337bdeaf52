"""Turns a validation error into the Problem a publisher reads: the field's path in its own JSON, and the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fleet.model.result import Problem
from fleet.validation import UNKNOWN, rule_in_job, rule_of

Model = TypeVar("Model")

MAX_PATH_CHARS = 200
"""Max characters of a path: it may repeat the name of an unknown field, which comes from the publisher."""


def field_problem(field: str, rule: str) -> Problem:
    field = field[:MAX_PATH_CHARS]
    return Problem(f"{field}: {rule}", field, rule)


def checked(validate: Callable[[Any], Model], sent: dict[str, Any]) -> Model | Problem:
    """Return what `validate` makes of `sent`, or the first problem. A null it objects to is removed from `sent`.

    Most jobs have no such null, so only those that fail are searched for one.
    """
    try:
        return validate(sent)
    except ValidationError as error:
        if not _drop_nulls(error, sent):
            return problem_of(error, sent)
    try:
        return validate(sent)
    except ValidationError as error:
        return problem_of(error, sent)


def _drop_nulls(error: ValidationError, sent: dict[str, Any]) -> bool:
    """Remove null fields that were objected to from `sent`, but no items of lists; return whether there was one."""
    found = error.errors(include_url=False)
    nulls = {tuple(_path(details, sent)) for details in found if details["input"] is None}
    dropped = [_drop(path, sent) for path in nulls if path and isinstance(path[-1], str)]
    return any(dropped)


def _drop(path: tuple[int | str, ...], sent: dict[str, Any]) -> bool:
    at: Any = sent
    for step in path[:-1]:
        at = at[step]
    if at[path[-1]] is not None:  # an objection to something inside, which is not there
        return False
    del at[path[-1]]
    return True


def problem_of(error: ValidationError, body: object) -> Problem:
    """Return the problem of the first field that breaks a rule, judged by the shape that fits `body` furthest."""
    errors = error.errors(include_url=False, include_input=False)
    paths = [_path(details, body) for details in errors]
    first = paths[0]
    inside = [index for index, path in enumerate(paths) if path[: len(first)] == first]
    chosen = max(inside, key=lambda index: len(paths[index]))
    same = [index for index in inside if paths[index] == paths[chosen]]
    path, rule = paths[chosen], _joined([_rule(errors[index], body) for index in same])
    if errors[chosen]["type"].startswith("union_tag"):
        path = [*path, errors[chosen]["ctx"]["discriminator"].strip("'")]
    return field_problem(".".join(str(step) for step in path), rule)


def _joined(rules: list[str]) -> str:
    """Return the rules of a field that takes several shapes as one; a rule on what only one of them has goes alone."""
    first, *others = dict.fromkeys(rules)
    if not all(rule.startswith("must ") for rule in (first, *others)):
        return first
    return ", or ".join([first, *(rule.removeprefix("must ") for rule in others)])


def _path(details: ErrorDetails, body: object) -> list[int | str]:
    """Return the error's path in `body`, without the names pydantic adds for the branches of a union.

    Such a name follows a value that has branches, and may be the name of one of its fields as well: the text part's
    is `text`.
    """
    path: list[int | str] = []
    at: Any = body  # Any: JSON
    is_branch = False
    for step in details["loc"]:
        is_key = isinstance(at, dict) and step in at
        is_index = isinstance(at, list) and isinstance(step, int) and step < len(at)
        if (is_key or is_index) and not is_branch:
            path.append(step)
            at = at[step]
            is_branch = isinstance(at, dict) and _has_branches(path, body)
        else:
            is_branch = False
    return [*path, details["loc"][-1]] if details["type"] == "missing" else path


def _has_branches(path: list[int | str], body: Any) -> bool:
    """Return whether the object at `path` is one of several kinds, told apart by its `role` or `type`."""
    if isinstance(path[-1], int):
        if path[-2] == "content":  # the others' parts are texts, which is one kind
            return body["request"]["messages"][path[-3]]["role"] in ("user", "assistant")
        return path[-2] == "messages"
    return path == ["request", "response_format"]


_APART = "is not a field of a job: it is charged apart from tokens, at prices the catalogue does not know"
_STORED = "is not a field of a job: it names what lies in a provider's account"
_OLD = "is not a field of a job: use tools and tool_choice"
CACHE_MARK = "cache_control"
"""Marks what a provider is to cache for money, in any part of a request."""

REFUSED: Mapping[str, str] = {
    "web_search_options": _APART,
    "audio": _APART,
    "prediction": _APART,
    "moderation": _APART,
    "prompt_cache_options": _APART,
    "prompt_cache_retention": _APART,
    CACHE_MARK: _APART,
    "speed": _APART,
    "previous_response_id": _STORED,
    "conversation": _STORED,
    "container": _STORED,
    "functions": _OLD,
    "function_call": _OLD,
}
"""Fields of a request that other interfaces know, and why jobs have none."""


def _rule_of_unknown(location: tuple[int | str, ...]) -> str:
    is_known_elsewhere = location[:-1] == ("request",) or location[-1] == CACHE_MARK
    return REFUSED.get(str(location[-1]), UNKNOWN) if is_known_elsewhere else UNKNOWN


def _rule(details: ErrorDetails, body: Any) -> str:
    if details["type"] != "extra_forbidden":
        return rule_of(details)
    is_job = isinstance(body, dict) and "task" in body
    return rule_in_job(details) if is_job and len(details["loc"]) == 1 else _rule_of_unknown(details["loc"])
