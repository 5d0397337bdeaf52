"""The lexical guard: what makes two questions different however alike they sound.

Encoders of sentences hardly see a number, a weekday or a "not": "turn it on" and "turn it off" are nearer to each other
than most rewordings are. The guard was written from the rules below before anything was measured with it.
"""

from __future__ import annotations

from enum import StrEnum

from policies.caching.vocabulary import DATES, OPPOSITES, PREFIXES, UNITS
from policies.caching.words import Words, stem


class Conflict(StrEnum):
    """The reason why one answer cannot serve both texts."""

    QUESTION = "question"
    NUMBER = "number"
    DATE = "date"
    UNIT = "unit"
    NEGATION = "negation"
    OPPOSITE = "opposite"
    NAME = "name"
    ROLE = "role"


_DATE_WORDS = frozenset(DATES)
_UNIT_WORDS = frozenset(UNITS) | {stem(unit) for unit in UNITS}
_OPPOSED = frozenset(word for pair in OPPOSITES for word in pair)


def conflict(asked: Words, cached: Words) -> Conflict | None:
    """Return the first reason why the cached answer may not serve the text that is asked, or None."""
    if asked.question != cached.question:
        return Conflict.QUESTION
    if asked.numbers != cached.numbers:
        return Conflict.NUMBER
    if asked.all & _DATE_WORDS != cached.all & _DATE_WORDS:
        return Conflict.DATE
    if _units(asked) != _units(cached):
        return Conflict.UNIT
    if asked.negations % 2 != cached.negations % 2:
        return Conflict.NEGATION
    if _opposed(asked.all - cached.all, cached.all - asked.all):
        return Conflict.OPPOSITE
    if asked.names - cached.all and cached.names - asked.all:
        return Conflict.NAME
    return Conflict.ROLE if _swapped(asked, cached) else None


def _units(words: Words) -> set[str]:
    return {stem(word) for word in words.all if word in _UNIT_WORDS or stem(word) in _UNIT_WORDS}


def _opposed(only_asked: frozenset[str], only_cached: frozenset[str]) -> bool:
    """Return whether a word of one text is denied by a word of the other: an antonym, or the same with a prefix."""
    left, right = _forms(only_asked), _forms(only_cached)
    if any(frozenset((a, b)) in OPPOSITES for a in left & _OPPOSED for b in right & _OPPOSED):
        return True
    return any(
        longer.removeprefix(prefix).lstrip("-") == shorter
        for one, other in ((left, right), (right, left))
        for longer in one
        for prefix in PREFIXES
        if longer.startswith(prefix)
        for shorter in other
    )


def _forms(words: frozenset[str]) -> set[str]:
    return set(words) | {stem(word) for word in words}


def _swapped(asked: Words, cached: Words) -> bool:
    """Return whether two words that both texts have changed places, as in "from here to there"."""
    if set(asked.content) != set(cached.content):
        return False
    for role, word in asked.roles - cached.roles:
        if any(other == role and found != word for other, found in cached.roles):
            return True
    return False
