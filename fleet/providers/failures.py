"""Maps every HTTP error of a provider to exactly one `FailureKind`.

    a word or sentence about the account or model     account, at any status below 500
    a word about the key                              authentication, at any status below 500
    status 402, 405; 404 unless it is about a file    account
    status 401; 403 unless it is about moderation     authentication
    status 403 about moderation                       content_filter
    status 429                                        rate_limited, or context_too_long for more than a limit at once
    status 498 (Groq flex capacity), 503, 529         overloaded; 429 if OpenAI's flexible tier has no capacity
    status 424 (a model at AWS) as the model's own    server_error where it does not say
    status 500 and above, otherwise                   server_error
    status 408                                        timeout
    status 413; 400 about the context length          context_too_long
    status 400, a code or sentence about content      content_filter
    status 400, a code about the model's text (Groq)  malformed
    status 404 about a file; 400, 409, 422, otherwise invalid_request
    anything else (redirects, ...)                    internal

Providers' messages are read to tell these apart and never passed on: they may quote the prompt or part of the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.model.attempt import Failure, FailureKind
from fleet.providers.retry_after import retry_after_seconds
from fleet.providers.sdk import Reply

BY_STATUS: Mapping[int, FailureKind] = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.ACCOUNT,
    403: FailureKind.AUTHENTICATION,
    404: FailureKind.ACCOUNT,
    405: FailureKind.ACCOUNT,
    408: FailureKind.TIMEOUT,
    409: FailureKind.INVALID_REQUEST,
    413: FailureKind.CONTEXT_TOO_LONG,
    422: FailureKind.INVALID_REQUEST,
    424: FailureKind.SERVER_ERROR,
    429: FailureKind.RATE_LIMITED,
    498: FailureKind.OVERLOADED,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}

BY_CODE: Mapping[str, FailureKind] = {
    "context_length_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "content_filter": FailureKind.CONTENT_FILTER,
    "content_policy_violation": FailureKind.CONTENT_FILTER,
    "invalid_prompt": FailureKind.CONTENT_FILTER,
    "json_validate_failed": FailureKind.MALFORMED,
    "tool_use_failed": FailureKind.MALFORMED,
}

ACCOUNT_WORDS = frozenset(
    {
        # OpenAI
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "access_terminated",
        "model_not_found",
        "invalid_organization",
        "mismatched_organization",
        "mismatched_project",
        "project_archived",
        "unsupported_country_region_territory",
        # Anthropic
        "billing_error",
        # Groq
        "organization_restricted",
        "blocked_api_access",
        "model_decommissioned",
        "model_not_active",
        "model_terms_required",
        "model_permission_blocked_org",
        "model_permission_blocked_project",
        # Azure and other servers of the OpenAI format
        "deploymentnotfound",
        "insufficient_balance",
        "insufficient_credits",
        "payment_required",
        "usage_limit_reached",
        "budget_exceeded",
    }
)
"""Values of `code` and `type` that are about the key's account, or a model that it cannot use."""

KEY_WORDS = frozenset({"invalid_api_key", "incorrect_api_key", "authentication_error"})
"""Values of `code` and `type` that are about the key itself."""

ACCOUNT_SENTENCES = re.compile(
    r"your credit balance is too low|this organization has been disabled|your (account|organization) (has been|is not)"
    r"|you have reached your specified (\w+ )*usage limits?|your organization must be verified to (use|stream)"
    r"|you exceeded your current quota, please check your plan|this model has been (decommissioned|deprecated)"
    r"|the model [`'\"]?[\w./:-]+[`'\"]? (does not exist|has been (decommissioned|deprecated))|insufficient balance"
    r"|country, region, or territory not supported|user location is not supported|this credential is only authorized"
    r"|invalid model id|the provided model identifier is invalid|invocation of model id [\w./:-]+ with on-demand"
    r"|[\w./:-]+ is not a valid model id|api key (not valid|expired|not found)",
    re.IGNORECASE,
)
"""The beginnings of messages about the account that have no word of their own; most are invalid_request_errors.

Only the beginning counts: the rest may quote the request, and no publisher must be able to shut a target by its words.
"""

OF_A_FILE = re.compile(r"\bfile", re.IGNORECASE)
OF_CONTENT = re.compile(r"moderation|flagged|content (violates|violation)|usage guidelines|safety_check", re.IGNORECASE)
BLOCKED = re.compile(r"output blocked by content filtering", re.IGNORECASE)
"""The beginning of Anthropic's message if its filter stopped the answer; the error has no word of its own."""

TOO_LONG = re.compile(
    r"prompt is too long|input is too long for requested model|maximum context length|maximum model length"
    r"|exceed context limit|maximum allowed number of output tokens|supports at most \d+ completion tokens",
    re.IGNORECASE,
)
"""Messages about the context length; Anthropic and most servers of the OpenAI format give this error no code."""

NO_CAPACITY = "resource_unavailable"
"""The code of OpenAI's 429 if the flexible tier has no room: nobody asked too often, and nothing is charged."""

TOO_MUCH_AT_ONCE = re.compile(r"request too large for", re.IGNORECASE)
"""The beginning of OpenAI's and Groq's message if a single request exceeds a minute's limit: it never fits."""

WORD = re.compile(r"[a-z]+(_[a-z]+)+")
"""The form of error codes that may be passed on; no key and no prompt looks like this."""


def failure_of(provider: str, reply: Reply, now: float) -> Failure:
    """Return the failure that an error reply stands for; `now` is unix seconds."""
    status, error = _judged(reply.status, _error(reply.body))
    words = [str(error[name]) for name in ("code", "type") if error.get(name)]
    word = next((f" ({each})" for each in words if WORD.fullmatch(each)), "")
    return Failure(
        kind=_kind(status, [each.lower() for each in words], str(error.get("message", ""))),
        detail=f"{provider} answered HTTP {reply.status}{word}",
        retry_after_seconds=retry_after_seconds(reply.headers, now),
    )


def _judged(status: int, error: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Return what to judge by: for an error of a model behind AWS, the model's own status and words."""
    own = error.get("OriginalStatusCode", error.get("originalStatusCode"))
    if status != 424 or type(own) is not int or not 400 <= own < 600:
        return status, error
    return own, _error(str(error.get("OriginalMessage", "")).encode()) or error


def _kind(status: int, words: Sequence[str], message: str) -> FailureKind:
    if status < 500:
        if not ACCOUNT_WORDS.isdisjoint(words) or ACCOUNT_SENTENCES.match(message.lstrip()):
            return FailureKind.ACCOUNT
        if not KEY_WORDS.isdisjoint(words):
            return FailureKind.AUTHENTICATION
    if status == 400:
        for word in words:
            if word in BY_CODE:
                return BY_CODE[word]
        if BLOCKED.match(message):
            return FailureKind.CONTENT_FILTER
        if TOO_LONG.search(message):
            return FailureKind.CONTEXT_TOO_LONG
    if status == 429 and TOO_MUCH_AT_ONCE.match(message):
        return FailureKind.CONTEXT_TOO_LONG
    if status == 429 and NO_CAPACITY in words:
        return FailureKind.OVERLOADED
    if status == 403 and OF_CONTENT.search(message):
        return FailureKind.CONTENT_FILTER
    if status == 404 and OF_A_FILE.search(message):
        return FailureKind.INVALID_REQUEST
    if status in BY_STATUS:
        return BY_STATUS[status]
    return FailureKind.SERVER_ERROR if status >= 500 else FailureKind.INTERNAL


def _error(body: bytes) -> Mapping[str, Any]:
    """Return the error object: under `error` in the three formats, the document itself at some servers, else empty."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    return error if isinstance(error, dict) else {"message": error}
