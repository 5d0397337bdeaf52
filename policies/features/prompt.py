"""Features of a prompt that any text has: its length, numbers, signs, options and kinds of words.

Standard library only and called for every request, so: one pass per pattern, and patterns that cannot backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log1p

LONGEST = 16_000
"""Maximum characters read; later ones change neither the features nor, by then, the verdict."""
_LARGEST = 1e15

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_DECIMAL = re.compile(r"[0-9]\.[0-9]")
_OPTION = re.compile(r"^\(?[A-Z][.)][ \t]+(.*)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_OPERATOR = re.compile(r"[-+*/=^<>]")
_CAPITAL = re.compile(r"[A-Z]")


def _set_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _set_of(
    "the a an of to in and or is are was were be been it its that this these those for on at by with as from which who "
    "whom what when where how why he she his her they their them i you your we our has have had do does did not no can "
    "could will would should may might must if than then there all any each more most some such only also into about"
)
_QUANTITY = _set_of(
    "each every per half twice double triple times percent remaining left rest more less fewer total average ratio "
    "third quarter difference"
)
_NEGATION = _set_of("not except never least false incorrect no none without cannot")
_PERSON = _set_of("i my me he she his her him they you your")
_LONG_WORD = 10

PROMPT_FEATURES = (
    "log_chars", "log_lines", "log_sentences", "words_per_sentence", "log_not_ascii",
    "log_numbers", "log_distinct_numbers", "log_decimals", "log_largest_number", "numbers_per_word",
    "log_chars_before_options", "log_mean_option_chars", "log_option_spread", "numeric_options_share",
    "log_operators", "capitals_share", "colons_share", "log_commas", "log_questions", "log_quotes",
    "log_dollars", "log_backslashes", "log_percents", "log_blanks", "log_brackets",
    "mean_word_chars", "long_words_share", "distinct_words_share", "common_words_share",
    "log_negations", "log_quantities", "log_persons",
)  # fmt: skip
"""Names of `prompt_features`, in order. `log_` is the natural logarithm of 1 + count."""


def words(text: str) -> list[str]:
    """Return the words of the first LONGEST characters, in lower case; a number is a word."""
    return _WORD.findall(text[:LONGEST].lower())


def numbers(text: str) -> list[float]:
    """Return the numbers written in a text, without sign; commas separate thousands. None is above 1e15."""
    return [number_of(found) for found in _NUMBER.findall(text)]


def number_of(digits: str) -> float:
    """Return the value of digits with commas and points; of several points (a date, a version), the first counts."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    return min(float(f"{whole or 0}.{fraction.partition('.')[0] or 0}"), _LARGEST)


def sentences(text: str) -> int:
    """Count the sentences that end in a text."""
    return len(_SENTENCE_END.findall(text))


def prompt_features(text: str, tokens: Sequence[str]) -> list[float]:
    """Return the PROMPT_FEATURES of a text and its `words`; every value is finite, for any text."""
    text = text[:LONGEST]
    count = max(len(tokens), 1)
    return [*_shape(text, count), *_numeric(text, count), *_options(text), *_signs(text), *_wording(tokens, count)]


def _shape(text: str, count: int) -> list[float]:
    ends = sentences(text)
    not_ascii = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return [log1p(len(text)), log1p(text.count("\n")), log1p(ends), count / max(ends, 1), log1p(not_ascii)]


def _numeric(text: str, count: int) -> list[float]:
    found = numbers(text)
    decimals = len(_DECIMAL.findall(text))
    largest = max(found, default=0.0)
    return [log1p(len(found)), log1p(len(set(found))), log1p(decimals), log1p(largest), len(found) / count]


def _options(text: str) -> list[float]:
    """Describe the answers to choose from: lines that start with one capital and a point or bracket."""
    first = _OPTION.search(text)
    if first is None:
        return [log1p(len(text)), 0.0, 0.0, 0.0]
    options = _OPTION.findall(text, first.start())
    chars = list(map(len, options))
    numeric = sum(_NUMBER.search(option) is not None for option in options)
    return [
        log1p(first.start()),
        log1p(sum(chars) / len(chars)),
        log1p(max(chars) - min(chars)),
        numeric / len(options),
    ]


def _signs(text: str) -> list[float]:
    chars = max(len(text), 1)
    count = text.count
    return [
        log1p(len(_OPERATOR.findall(text))),
        len(_CAPITAL.findall(text)) / chars,
        (count(",") + count(";") + count(":")) / chars,
        log1p(count(",")),
        log1p(count("?")),
        log1p(count('"') + count("'")),
        log1p(count("$")),
        log1p(count("\\")),
        log1p(count("%")),
        log1p(count("_")),
        log1p(count("(")),
    ]


def _wording(tokens: Sequence[str], count: int) -> list[float]:
    lengths = list(map(len, tokens))
    return [
        sum(lengths) / count,
        sum([length >= _LONG_WORD for length in lengths]) / count,
        len(set(tokens)) / count,
        sum(map(_COMMON.__contains__, tokens)) / count,
        log1p(sum(map(_NEGATION.__contains__, tokens))),
        log1p(sum(map(_QUANTITY.__contains__, tokens))),
        log1p(sum(map(_PERSON.__contains__, tokens))),
    ]
