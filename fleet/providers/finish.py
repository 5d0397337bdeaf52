"""Maps the word a server gives for the end of an answer to OpenAI's finish reasons.

stop            end_turn, stop_sequence, eos, complete, ..., null beside an answer, and any word nobody knows
length          max_tokens, model_length, model_context_window_exceeded, ...
tool_calls      tool_use, function_call, ..., and stop beside tool calls
content_filter  refusal, safety, ...: a failure, for the answer was withheld
anything else   error, abort, pause_turn, ..., and null beside no answer: a failure, for the answer is no whole one
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from fleet.model.attempt import Answer, Failure, FailureKind, Outcome

_LENGTH = re.compile(r"length|max_?(output_?)?tokens|token_limit|context_window", re.IGNORECASE)
_WITHHELD = re.compile(
    r"filter|refus|safety|blocked|prohibited|recitation|moderat|policy|sensitive|spii", re.IGNORECASE
)
_BROKEN = re.compile(
    r"error|exception|abort|fail|cancel|timed?_?out|interrupt|insufficient|overload|unavailable|incomplete|malformed"
    r"|pause|invalid",
    re.IGNORECASE,
)

_CALLS = re.compile(r"tool|function", re.IGNORECASE)


def finished(answer: Answer, word: str | None, provider: str) -> Outcome:
    """Return the answer with its finish reason, or a failure if it is not whole; `word` is what the server said."""
    has_calls = bool(answer.message.get("tool_calls"))
    says = has_calls or bool(answer.text) or bool(answer.message.get("refusal"))
    match _meaning(word or ""):
        case "content_filter":
            return Failure(FailureKind.CONTENT_FILTER, f"{provider} withheld the answer")
        case "error":
            return Failure(FailureKind.MALFORMED, f"{provider} broke the answer off")
        case "length":
            return replace(answer, finish_reason="length")
        case "" | "tool_calls" if not says:
            return Failure(FailureKind.MALFORMED, f"{provider} sent a reply without an answer")
        case meaning:
            return replace(answer, finish_reason="tool_calls" if has_calls or meaning == "tool_calls" else "stop")


def _meaning(word: str) -> str:
    """Return stop, length, tool_calls, content_filter or error; an empty string if the server said nothing."""
    if word in ("", "stop", "tool_calls", "length", "content_filter"):
        return word
    kinds = {"content_filter": _WITHHELD, "error": _BROKEN, "length": _LENGTH, "tool_calls": _CALLS}
    return next((kind for kind, words in kinds.items() if words.search(word)), "stop")


def cut_at(outcome: Outcome, stops: tuple[str, ...]) -> Outcome:
    """Cut the answer at the first of `stops`, the stop sequences that its server cannot be given."""
    if not stops or not isinstance(outcome, Answer):
        return outcome
    text = outcome.text
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if not places:
        return outcome
    message: dict[str, Any] = {**outcome.message, "content": text[: min(places)]}
    return replace(outcome, message=message, finish_reason="stop")
