"""Reads the body of a request: JSON, within a limit, and nothing that Python takes for JSON although it is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from fleet.gateway.errors import ApiError
from fleet.validation import rule_of

MAX_JSON_BYTES = 1024 * 1024
"""Twice the limit of a job, which is written without blanks and escapes."""

Model = TypeVar("Model", bound=BaseModel)


async def json_object(request: Request, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the object in the body. Raises: ApiError if there is none: 400, 413 or 415."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "Send the body as application/json, not compressed.", code="unsupported_media_type")
    body = await read_body(request, limit)
    try:
        sent = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The body must be JSON: {error}", code="invalid_json") from None
    if not isinstance(sent, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return sent


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises: ApiError, 413, as soon as it is known to be longer than `limit` bytes."""
    body = bytearray()
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise too_large(limit)
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"The body must be at most {limit} bytes.", code="request_too_large")


def checked(model: type[Model], sent: dict[str, Any]) -> Model:
    """Return the body as this model. Raises: ApiError, 400, naming the field that breaks a rule."""
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        found = [(list(_path(each, sent)), each) for each in error.errors(include_url=False, include_input=False)]
        path, details = max(found, key=lambda each: len(each[0]))  # of several shapes, the one that fits furthest
        param = ".".join(map(str, path)) or "body"
        raise ApiError(400, f"{param}: {rule_of(details)}", param=param, code="invalid_value") from None


def _path(details: ErrorDetails, sent: Any) -> Iterator[int | str]:
    """Yield the steps of an error's path in the body, without pydantic's own, which name the branches of unions."""
    at = sent
    for step in details["loc"]:
        is_key = isinstance(at, dict) and step in at
        is_index = isinstance(at, list) and isinstance(step, int) and step < len(at)
        if is_key or is_index:
            yield step
            at = at[step]
    if details["type"] == "missing":
        yield details["loc"][-1]
