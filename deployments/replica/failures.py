"""Translates what goes wrong inside an engine into the fleet's failures."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from vllm.entrypoints.serve.engine.protocol import ErrorInfo
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMValidationError
from vllm.v1.engine.exceptions import EngineDeadError

from fleet.model.attempt import Failure, FailureKind

CONTEXT_PHRASES = ("context length", "max_model_len", "maximum model length")
"""Phrases by which vLLM 0.29 says that prompt and answer do not fit; it has no error class for that."""

DETAIL_CHARACTERS = 300


def failure_of(error: Exception) -> Failure:
    """Return the failure for an exception of vLLM's chat layer or engine; its detail never quotes the request."""
    match error:
        case ValidationError():
            return Failure(FailureKind.INVALID_REQUEST, _line(_first_rule(error)))
        case VLLMValidationError():
            # str() of it would append the offending value, which may be the prompt.
            return _refusal(str(error.args[0]))
        case VLLMClientError() | ValueError():
            return _refusal(str(error))
        case GracefulHTTPError():
            return Failure(FailureKind.OVERLOADED, _line(error.message))
        case EngineDeadError():
            return Failure(FailureKind.CONNECTION, "the engine has died")
        case _:
            return Failure(FailureKind.INTERNAL, type(error).__name__)


def failure_of_response(error: ErrorInfo) -> Failure:
    """Return the failure for an error that vLLM's OpenAI layer returned as a response."""
    if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
        return Failure(FailureKind.OVERLOADED, _line(error.message))
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure(FailureKind.INTERNAL, _line(error.message))
    return _refusal(error.message)


def _refusal(message: str) -> Failure:
    too_long = any(phrase in message for phrase in CONTEXT_PHRASES)
    return Failure(FailureKind.CONTEXT_TOO_LONG if too_long else FailureKind.INVALID_REQUEST, _line(message))


def _first_rule(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _line(text: str) -> str:
    return " ".join(text.split())[:DETAIL_CHARACTERS]
