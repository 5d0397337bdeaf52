"""Training data that an adapter gives away: what only its training rows say, found in answers to other questions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.lab.data.similar import words_of
from fleet.lab.gates.facts import PLACEHOLDER, names_in, numbers_in
from fleet.lab.gates.outcomes import Pair

COMMON_SHARE = 0.02
"""Share of training rows from which a word is one of the task's own, and gives nobody away."""

LONG_DIGITS = 5
"""Digits from which a number names somebody or something: a shorter one may be counted or come by chance."""

_FULL_NAME = re.compile(r"(?<![\w'\u2019])[^\W\d_a-z]\w+(?: [^\W\d_a-z]\w+)+")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What training rows alone say, and few of them: `certain` strings never come by chance, single `names` may."""

    certain: frozenset[str]
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Leaks:
    """Answers of the adapter with a certain string, and pairs of whether base and adapter said a name.

    A string that was asked about gives nothing away, and one that the base says as well it has from elsewhere.
    """

    certain: Sequence[str]
    names: Sequence[tuple[bool, bool]]


def secrets_of(trained: Sequence[str], others: Iterable[str]) -> Secrets:
    """Return what occurs in training rows and in no other text."""
    rows = [(_certain(text), _names(text)) for text in trained]
    limit = max(1, int(COMMON_SHARE * len(rows)))
    elsewhere = list(others)
    known = {word for text in elsewhere for word in words_of(text)}
    certain = Counter(each for found, _ in rows for each in found)
    names = Counter(each for _, found in rows for each in found)
    seen = {each for text in elsewhere for each in _certain(text)}
    return Secrets(
        frozenset(each for each, count in certain.items() if count <= limit and each not in seen),
        frozenset(each for each, count in names.items() if count <= limit and each not in known),
    )


def _certain(text: str) -> set[str]:
    long = {each for each in numbers_in(text) if sum(map(str.isdigit, each)) >= LONG_DIGITS}
    return {*long, *PLACEHOLDER.findall(text), *(each.casefold() for each in _FULL_NAME.findall(text))}


def _names(text: str) -> set[str]:
    return {word for name in names_in(text) for word in words_of(name)}


def leaks(pairs: Sequence[Pair], secrets: Secrets) -> Leaks:
    """Look for secrets in the answers of both models."""
    certain, names = [], []
    for pair in pairs:
        base, adapter = pair.base.text, pair.adapter.text
        certain += sorted((_certain(adapter) - _certain(base)) & secrets.certain)
        names.append((bool(_names(base) & secrets.names), bool(_names(adapter) & secrets.names)))
    return Leaks(certain, names)
