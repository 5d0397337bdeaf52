"""Checks that make an answer unusable, whatever its confidence."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from fleet.model.attempt import Answer, Usage
from fleet.model.job import ChatRequest
from policies.confidence.json_schema import violates


class Gate(StrEnum):
    """The checks, in the order they are made: the cheap ones first."""

    TRUNCATED = "truncated"
    EMPTY = "empty"
    REFUSAL = "refusal"
    CHOICE = "choice"
    JSON = "json"
    SCRIPT = "script"


def first_failed(answer: Answer, request: ChatRequest, gates: Sequence[Gate]) -> Gate | None:
    """Return the first of `gates` that the answer does not pass; None where it can be used."""
    for gate in gates:
        if _FAILS[gate](answer, request):
            return gate
    return None


def asks_for_json(request: ChatRequest) -> bool:
    return _format_of(request).get("type") in ("json_object", "json_schema")


def _is_truncated(answer: Answer, request: ChatRequest) -> bool:
    """Return whether something other than the job's own limit cut the answer off before it was complete.

    The job's limit is no fault of the model: a stronger one would be cut off there as well, at a higher price.
    """
    if answer.finish_reason != "length":
        return False
    if calls := answer.message.get("tool_calls"):
        return not all(_is_json(call["function"]["arguments"]) for call in calls)
    return not _at_own_limit(answer.usage, request) and not _is_complete(answer, request)


def _at_own_limit(usage: Usage, request: ChatRequest) -> bool:
    """Return whether the answer is as long as the job lets it be. `max_tokens` bounds no thinking before it."""
    if whole := request.get("max_completion_tokens"):
        return bool(usage.output_tokens >= whole)
    limit = request.get("max_tokens")
    return limit is not None and usage.answer_tokens >= limit


def _is_json(text: str) -> bool:
    try:
        json.loads(text or "{}")
    except (ValueError, RecursionError):
        return False
    return True


def _is_complete(answer: Answer, request: ChatRequest) -> bool:
    """Return whether the answer is all that a request for a choice, a pattern or JSON can get."""
    if asks_for_json(request):
        return bool(answer.text) and not _breaks_json(answer, request)
    wanted = request.get("structured_outputs")
    if not isinstance(wanted, Mapping):
        return False
    pattern = wanted.get("regex")
    if isinstance(pattern, str):
        return _matches(pattern, answer.text)
    return isinstance(wanted.get("choice"), list) and not _is_no_choice(answer, request)


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:  # another dialect
        return False


def _is_empty(answer: Answer, request: ChatRequest) -> bool:
    return not answer.message.get("content") and not answer.message.get("tool_calls")


_REFUSAL = re.compile(
    r"\s*(?:i'?m sorry,? but|sorry,? (?:but )?i|i apologi[sz]e,? but"
    r"|i (?:can(?:no|')t|am unable to|am not able to|won't) (?:help|assist|comply|provide|answer|do that|fulfil)"
    r"|as an ai(?: language model)?,? i (?:can|am|do))",
    re.IGNORECASE,
)
"""Pattern of the opening of a refusal; elsewhere in a text the same words are quotation."""


def _is_refusal(answer: Answer, request: ChatRequest) -> bool:
    return (
        answer.finish_reason == "content_filter"
        or bool(answer.message.get("refusal"))
        or _REFUSAL.match(answer.text) is not None
    )


def _is_no_choice(answer: Answer, request: ChatRequest) -> bool:
    """Return whether the answer is none of the list in vLLM's own field for choices."""
    wanted = request.get("structured_outputs")
    choices = wanted.get("choice") if isinstance(wanted, Mapping) else None
    return isinstance(choices, list) and answer.text.strip() not in choices


def _breaks_json(answer: Answer, request: ChatRequest) -> bool:
    """Return whether the answer is not the JSON that was asked for; tool calls are checked by the tool's caller."""
    if answer.message.get("tool_calls") or not asks_for_json(request):
        return False
    try:
        said = json.loads(answer.text)
    except (ValueError, RecursionError):
        return True
    wanted = _format_of(request).get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
    return isinstance(schema, Mapping) and violates(said, schema)


_TRANSLATES = re.compile(r"[Tt]ranslat|\bin (?:[A-Z][a-z]+)\b|\b(?:to|into) (?:[A-Z][a-z]+(?:ese|ish|ian|an|ch|ic))\b")
_LETTERS_JUDGED = 8
"""Minimum letters to judge: a name or two in another script is no change of language."""


def _changes_script(answer: Answer, request: ChatRequest) -> bool:
    """Return whether the most frequent script is one the request has none of, unless it mentions another language."""
    text = answer.text
    if text.isascii():
        return False
    letters = [letter for letter in text if letter.isalpha()]
    if len(letters) < _LETTERS_JUDGED:
        return False
    scripts = [_script(letter) for letter in letters]
    most = max(set(scripts), key=scripts.count)
    prompt = " ".join(_texts(request))
    return (
        any(letter.isalpha() for letter in prompt)
        and not any(letter.isalpha() and _script(letter) == most for letter in prompt)
        and _TRANSLATES.search(prompt) is None
    )


def _script(letter: str) -> str:
    """Return the first word of a letter's Unicode name: LATIN, CYRILLIC, CJK, ..."""
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]


def _texts(request: ChatRequest) -> Sequence[str]:
    contents = [message.get("content") for message in request.get("messages", ())]
    return [content if isinstance(content, str) else str(content or "") for content in contents]


def _format_of(request: ChatRequest) -> Mapping[str, Any]:
    wanted = request.get("response_format")
    return wanted if isinstance(wanted, Mapping) else {}


_FAILS: Mapping[Gate, Callable[[Answer, ChatRequest], bool]] = {
    Gate.TRUNCATED: _is_truncated,
    Gate.EMPTY: _is_empty,
    Gate.REFUSAL: _is_refusal,
    Gate.CHOICE: _is_no_choice,
    Gate.JSON: _breaks_json,
    Gate.SCRIPT: _changes_script,
}
