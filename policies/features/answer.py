"""Features of an answer beside its question: whether its arithmetic is right, whether it uses what is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log1p

from policies.features.arithmetic import Equation, equations
from policies.features.prompt import LONGEST, numbers, sentences

ANSWER_FEATURES = (
    "log_answer_chars", "answer_per_question_chars", "log_answer_lines", "log_answer_sentences", "chars_per_sentence",
    "log_right_equations", "log_wrong_equations", "log_unclear_equations",
    "log_answer_numbers", "log_largest_answer_number", "given_numbers_used", "log_given_numbers_unused",
    "new_numbers_share", "fractional_numbers_share",
    "has_final_marker", "log_final_markers", "final_is_bare_number", "log_final_number", "final_is_whole",
    "final_was_given", "final_is_last_result", "final_per_largest_given", "final_is_negative", "ends_in_number",
    "log_hedges", "has_algebra", "log_assignments", "log_steps", "log_totals", "log_answer_percents", "log_slashes",
)  # fmt: skip
"""Names of `answer_features`, in order; `log_` and the shares as in `policies.features.prompt`."""

_FINAL = re.compile(r"(?:####|[Ff]inal [Aa]nswer:?|[Tt]he answer is:?|\\boxed\{)[ \t]*([^\n}]*)")
_BARE_NUMBER = re.compile(r"[$]?-?[0-9][0-9,]*(?:\.[0-9]+)?\.?")
_STEP = re.compile(r"\b(?:first|then|so|therefore|after|next)\b")
_ASSIGNMENT = re.compile(r"[a-z][ \t]?=")
_NEGATIVE_RESULT = re.compile(r"=[ \t]?-[0-9]")
_HEDGES = (
    "however", "assume", "not possible", "cannot", "sorry", "unclear", "not enough", "since we", "but ", "actually",
    "approximately", "about", "round",
)  # fmt: skip
_LARGEST_RATIO = 50.0
_NUMBER_ENDS = tuple("0123456789.")


def answer_features(question: str, answer: str) -> list[float]:
    """Return the ANSWER_FEATURES of an answer; every value is finite, for any two texts."""
    question, answer = question[:LONGEST], answer[:LONGEST]
    given, used = numbers(question), numbers(answer)
    claims = equations(answer)
    results = [claim.right for claim in claims]
    ending = _ending(answer, given, used, results)
    return [*_shape(question, answer), *_checked(claims), *_use(given, used), *ending, *_manner(answer)]


def _shape(question: str, answer: str) -> list[float]:
    ends = sentences(answer)
    ratio = min(len(answer) / (len(question) + 1), _LARGEST_RATIO)
    return [log1p(len(answer)), ratio, log1p(answer.count("\n")), log1p(ends), log1p(len(answer) / (1 + ends))]


def _checked(claims: Sequence[Equation]) -> list[float]:
    right = sum(claim.holds for claim in claims)
    unclear = sum(claim.left is None for claim in claims)
    return [log1p(right), log1p(len(claims) - right - unclear), log1p(unclear)]


def _use(given: Sequence[float], used: Sequence[float]) -> list[float]:
    asked, told = set(given), set(used)
    return [
        log1p(len(used)),
        log1p(max(used, default=0.0)),
        len(asked & told) / max(len(asked), 1),
        log1p(len(asked - told)),
        len(told - asked) / max(len(told), 1),
        sum(value != int(value) for value in used) / max(len(used), 1),
    ]


def _ending(answer: str, given: Sequence[float], used: Sequence[float], results: Sequence[float]) -> list[float]:
    """Describe the final answer: the text behind the first marker, or else the last number."""
    marked = _FINAL.findall(answer)
    text = marked[0].strip() if marked else ""
    final = next(iter(numbers(text) or used[-1:]), None)
    return [
        float(bool(marked)),
        log1p(len(marked)),
        float(_BARE_NUMBER.fullmatch(text) is not None),
        log1p(final or 0.0),
        float(final is not None and final == int(final)),
        float(final in given),
        float(bool(results) and final == abs(results[-1])),
        min((1.0 + (final or 0.0)) / (1.0 + max(given, default=0.0)), _LARGEST_RATIO),
        float("-" in text or _NEGATIVE_RESULT.search(answer) is not None),
        float(answer.rstrip()[-1:] in _NUMBER_ENDS),
    ]


def _manner(answer: str) -> list[float]:
    lower = answer.lower()
    return [
        log1p(sum(map(lower.count, _HEDGES))),
        float("let " in lower or " x " in lower),
        log1p(len(_ASSIGNMENT.findall(lower))),
        log1p(len(_STEP.findall(lower))),
        log1p(lower.count("total")),
        log1p(lower.count("%")),
        log1p(lower.count("/")),
    ]
