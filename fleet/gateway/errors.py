"""Errors in OpenAI's shape, whatever goes wrong: a broken rule, an unknown path, a broker that is away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from fleet.logs import get_logger
from fleet.model.errors import FieldError, QueueUnavailable
from fleet.validation import rule_of

log = get_logger(__name__)

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"

NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
"""Tells OpenAI's SDKs that the same request would fail again, where the status alone makes them repeat it."""

BROKER_AWAY_SECONDS = 1

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
"""The types of errors by status; others below 500 are invalid requests, and all others server errors."""

_PLACES = ("body", "query", "path", "header", "cookie")
"""The first steps of the locations in FastAPI's own errors."""


class ErrorDetail(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ApiError(Exception):
    """An answer that is no success. Without a `type` it follows from the status."""

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or _TYPES.get(status, INVALID_REQUEST if status < 500 else SERVER_ERROR)
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> ErrorBody:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


def install(app: FastAPI) -> None:
    """Give every error of the application, and of the framework below it, OpenAI's shape."""

    def answer(_: Request, error: Exception) -> JSONResponse:
        return api_error_of(error).response()

    for kind in (ApiError, RequestValidationError, FieldError, QueueUnavailable):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(HTTPException, _of_framework)


def api_error_of(error: Exception) -> ApiError:
    """Return what the caller is told of an error; of one that nobody expected, nothing but that there was one."""
    match error:
        case ApiError():
            return error
        case RequestValidationError():
            return _of_validation(error)
        case FieldError():
            return ApiError(400, str(error), param=error.field, code="invalid_value")
        case QueueUnavailable():
            log.warning("gateway_without_broker", error=str(error))
            message = "The fleet's queue does not answer; try again."
            return ApiError(503, message, code="queue_unavailable", headers={"retry-after": str(BROKER_AWAY_SECONDS)})
        case _:
            log.error("gateway_request_failed", exc_info=error)
            return ApiError(500, "Something went wrong; the gateway's log says what.", code="internal_error")


def _of_validation(error: RequestValidationError) -> ApiError:
    """Return the first problem with a parameter; a path that names nothing there could be is not there."""
    details = error.errors()[0]
    place, *steps = details["loc"]
    param = ".".join(map(str, steps or (place,)))
    if place == "header":
        param = param.replace("_", "-")
    if place == "path":
        return ApiError(404, f"There is no such {param}.", param=param, code="not_found")
    named: Any = details  # FastAPI's errors are pydantic's
    return ApiError(400, f"{param}: {rule_of(named)}", param=param, code="invalid_value")


def _of_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    match error.status_code:
        case 404:
            return ApiError(404, f"Unknown request URL: {where}.", code="unknown_url").response()
        case 405:
            message, allow = f"Not allowed: {where}.", {"allow": ", ".join(_methods_of(request))}
            return ApiError(405, message, code="method_not_allowed", headers=allow).response()
        case _:
            return ApiError(error.status_code, str(error.detail), headers=error.headers).response()


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of the path: the framework names those of the first alone."""
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
