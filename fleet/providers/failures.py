"""What a provider's refusal means: every HTTP error becomes exactly one `FailureKind`.

    a word or sentence about the account or model     account, whatever the status
    status 402; 404 and 405 but about a file          account
    status 401, 403                                   authentication, or content_filter where it speaks of moderation
    status 429                                        rate_limited, or context_too_long for more than a limit at once
    status 498 (Groq flex capacity), 503, 529         overloaded
    status 500 and above, otherwise                   server_error
    status 408                                        timeout
    status 413, or an error about the context length  context_too_long
    an error code about content                       content_filter
    an error code about what the model wrote (Groq)   malformed
    status 400, 409, 422, otherwise                   invalid_request
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
"""Values of `code` and `type` that speak of the key's account, or of a model it cannot use."""

KEY_WORDS = frozenset({"invalid_api_key", "incorrect_api_key", "authentication_error"})
"""The same of the key itself."""

ACCOUNT_SENTENCES = re.compile(
    r"your credit balance is too low|this organization has been disabled|your (account|organization) (has been|is not)"
    r"|you have reached your specified (\w+ )*usage limits?|your organization must be verified to (use|stream)"
    r"|you exceeded your current quota, please check your plan|this model has been (decommissioned|deprecated)"
    r"|the model [`'\"]?[\w./:-]+[`'\"]? (does not exist|has been (decommissioned|deprecated))|insufficient balance"
    r"|country, region, or territory not supported|user location is not supported|this credential is only authorized"
    r"|invalid model id|[\w./:-]+ is not a valid model id|api key (not valid|expired|not found)",
    re.IGNORECASE,
)
"""How messages about the account begin that come without a word of their own, most of them as invalid_request_error.

Only the beginning counts: what follows may quote the request, and no publisher shall shut a target by its words.
"""

OF_A_FILE = re.compile(r"\bfile", re.IGNORECASE)
OF_CONTENT = re.compile(r"moderation|flagged|content (violates|violation)|usage guidelines|safety_check", re.IGNORECASE)
BLOCKED = re.compile(r"output blocked by content filtering", re.IGNORECASE)
"""How Anthropic's message begins where its filter stopped the answer; it has no word of its own."""

TOO_LONG = re.compile(
    r"prompt is too long|maximum context length|maximum model length|exceed context limit"
    r"|maximum allowed number of output tokens|supports at most \d+ completion tokens",
    re.IGNORECASE,
)
"""Anthropic and most servers of the OpenAI format give this error no code of its own."""

TOO_MUCH_AT_ONCE = re.compile(r"request too large for", re.IGNORECASE)
"""How OpenAI's and Groq's message begins where the request alone is more than a minute's limit: it never fits."""

WORD = re.compile(r"[a-z]+(_[a-z]+)+")
"""An error code worth passing on; no key and no prompt looks like this."""


def failure_of(provider: str, reply: Reply, now: float) -> Failure:
    """The failure an error reply stands for; `now` is unix seconds."""
    error = _error(reply.body)
    words = [str(error[name]) for name in ("code", "type") if error.get(name)]
    word = next((f" ({each})" for each in words if WORD.fullmatch(each)), "")
    return Failure(
        kind=_kind(reply.status, [each.lower() for each in words], str(error.get("message", ""))),
        detail=f"{provider} answered HTTP {reply.status}{word}",
        retry_after_seconds=retry_after_seconds(reply.headers, now),
    )


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
    if status == 403 and OF_CONTENT.search(message):
        return FailureKind.CONTENT_FILTER
    if status == 404 and OF_A_FILE.search(message):
        return FailureKind.INVALID_REQUEST
    if status in BY_STATUS:
        return BY_STATUS[status]
    return FailureKind.SERVER_ERROR if status >= 500 else FailureKind.INTERNAL


def _error(body: bytes) -> Mapping[str, Any]:
    """The error object: under `error` in the three formats, the document itself at some servers; empty elsewhere."""
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
