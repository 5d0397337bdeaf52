"""What a provider's refusal means: every HTTP error becomes exactly one `FailureKind`.

    status 429                                        rate_limited
    status 498 (Groq flex capacity), 503, 529         overloaded
    status 500 and above, otherwise                   server_error
    status 408                                        timeout
    status 401, 403                                   authentication
    status 413, or an error about the context length  context_too_long
    an error code about content                       content_filter
    an error code about what the model wrote (Groq)   malformed
    status 400, 404, 405, 409, 422, otherwise         invalid_request
    anything else (redirects, 402, ...)               internal

Providers' messages are read to tell these apart and never passed on: they may quote the prompt or part of the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Failure, FailureKind
from fleet.providers.retry_after import retry_after_seconds
from fleet.providers.sdk import Reply

BY_STATUS: Mapping[int, FailureKind] = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.AUTHENTICATION,
    403: FailureKind.AUTHENTICATION,
    404: FailureKind.INVALID_REQUEST,
    405: FailureKind.INVALID_REQUEST,
    408: FailureKind.TIMEOUT,
    409: FailureKind.INVALID_REQUEST,
    413: FailureKind.CONTEXT_TOO_LONG,
    422: FailureKind.INVALID_REQUEST,
    429: FailureKind.RATE_LIMITED,
    498: FailureKind.OVERLOADED,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}

BY_CODE: Mapping[str, FailureKind] = {
    "context_length_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "content_filter": FailureKind.CONTENT_FILTER,
    "content_policy_violation": FailureKind.CONTENT_FILTER,
    "json_validate_failed": FailureKind.MALFORMED,
    "tool_use_failed": FailureKind.MALFORMED,
}

TOO_LONG = re.compile(r"prompt is too long|maximum context length|exceed context limit", re.IGNORECASE)
"""Anthropic and most servers of the OpenAI format give this error no code of its own."""

WORD = re.compile(r"[a-z]+(_[a-z]+)+")
"""An error code worth passing on; no key and no prompt looks like this."""


def failure_of(provider: str, reply: Reply, now: float) -> Failure:
    """The failure an error reply stands for; `now` is unix seconds."""
    error = _error(reply.body)
    code = _code(error)
    word = f" ({code})" if WORD.fullmatch(code) else ""
    return Failure(
        kind=_kind(reply.status, code, str(error.get("message", ""))),
        detail=f"{provider} answered HTTP {reply.status}{word}",
        retry_after_seconds=retry_after_seconds(reply.headers, now),
    )


def _kind(status: int, code: str, message: str) -> FailureKind:
    if status == 400:
        if code in BY_CODE:
            return BY_CODE[code]
        if TOO_LONG.search(message):
            return FailureKind.CONTEXT_TOO_LONG
    if status in BY_STATUS:
        return BY_STATUS[status]
    return FailureKind.SERVER_ERROR if status >= 500 else FailureKind.INTERNAL


def _error(body: bytes) -> Mapping[str, Any]:
    """The `error` object all three formats share; empty where the body is something else."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _code(error: Mapping[str, Any]) -> str:
    """OpenAI and Groq put the telling word in `code`, Anthropic in `type`."""
    return str(error.get("code") or error.get("type") or "")
