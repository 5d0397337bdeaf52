"""The facts of a text: names, numbers, dates and placeholders, which no change of style may touch."""

from __future__ import annotations

import re
from collections import Counter

from fleet.lab.data.similar import words_of

PLACEHOLDER = re.compile(r"<[A-Z]+_\d+>")
"""What an export has put in place of a secret or of personal data."""

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_CAPITALISED = re.compile(r"(?<![\w'\u2019])[^\W\d_a-z]\w*")
_OPENING = re.compile(r"(?:^|[.!?:\n]\s*|[\"“(]\s*)$")


def numbers_in(text: str) -> list[str]:
    """Return the numbers, dates and times of a text; `1,000` and `1000` are the same."""
    plain = PLACEHOLDER.sub(" ", text)
    return [re.sub(r",(?=\d{3}(?!\d))", "", found) for found in _NUMBER.findall(plain)]


def names_in(text: str) -> list[str]:
    """Return the words with a capital, but those that only begin a sentence and are not found inside one."""
    plain = PLACEHOLDER.sub(" ", text)
    found = [(match[0], bool(_OPENING.search(plain[: match.start()]))) for match in _CAPITALISED.finditer(plain)]
    inside = {word for word, opens in found if not opens}
    return [word for word, opens in found if not opens or word in inside]


def keeps_facts(reference: str, answer: str, asked: str) -> bool:
    """Return whether an answer has every fact of the reference, and no number or name from nowhere.

    A name or number that it has and the reference lacks must be in what was asked.
    """
    said = Counter(words_of(answer))
    names = {name.casefold() for name in names_in(reference)}
    wanted = Counter([*numbers_in(reference), *PLACEHOLDER.findall(reference)])
    held = Counter([*numbers_in(answer), *PLACEHOLDER.findall(answer)])
    if wanted - held or any(not said[word] for name in names for word in words_of(name)):
        return False
    known = {*words_of(reference), *words_of(asked)}
    numbers = {*wanted, *numbers_in(asked), *PLACEHOLDER.findall(asked)}
    return set(held) <= numbers and all(word in known for name in names_in(answer) for word in words_of(name))
