"""The signals of a cached answer, and their score.

A cosine alone cannot tell a rewording from an opposite. What tells more is the *answer*: how much nearer it is than the
nearest other answer, whether the neighbours agree on it, and whether the words that differ matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fleet.model.caching import AnswerScore, Neighbour
from fleet.model.errors import ConfigError
from policies.caching.guard import conflict
from policies.caching.words import Words, exchanged, overlap, words_of

SIGNALS = ("cosine", "margin", "vote", "words", "content", "guard", "exchange")
"""In this order: the cosine of the nearest question; that less the cosine of the nearest one with another answer; the
share of the nearest five with the same answer; the overlap of words with the best question of this answer less that
with the best of another; the overlap of content words with the nearest;
1 where the guard objects; 1 where each of the two questions has a content word that the other lacks."""

CANDIDATES = 20
"""The neighbours that are looked at."""
_VOTERS = 5


def signals_of(text: str, neighbours: Sequence[Neighbour]) -> tuple[float, ...]:
    """Return the SIGNALS of the nearest question's answer; `neighbours` are at least one, nearest first.

    They depend on nothing else: a label keeps them, and any later score can be tested with it.
    """
    asked, nearest = words_of(text), neighbours[0]
    same = [each for each in neighbours if each.answer == nearest.answer]
    others = [each for each in neighbours if each.answer != nearest.answer]
    voters = neighbours[:_VOTERS]
    other = others[0].cosine if others else neighbours[-1].cosine if len(neighbours) >= CANDIDATES else 0.0
    cached = words_of(nearest.text)
    return (
        nearest.cosine,
        nearest.cosine - other,
        sum(each.answer == nearest.answer for each in voters) / len(voters),
        _best(asked, same) - _best(asked, others),
        overlap(asked, cached),
        float(conflict(asked, cached) is not None),
        float(exchanged(asked, cached)),
    )


def score(signals: Sequence[float], by: AnswerScore) -> float:
    """Return the log-odds that the answer is the right one; minus infinity where a signal forbids it."""
    if any(signals[SIGNALS.index(name)] for name in by.vetoes):
        return -math.inf
    return by.intercept + sum(by.weights.get(name, 0.0) * value for name, value in zip(SIGNALS, signals, strict=True))


def check(by: AnswerScore) -> None:
    """Refuse a score from outside that could not be applied. Raises: ConfigError naming the field and the rule."""
    for field, names in (("weights", by.weights), ("vetoes", by.vetoes)):
        unknown = [name for name in names if name not in SIGNALS]
        if unknown:
            raise ConfigError(f"score.{field}", f"must be among {', '.join(SIGNALS)}; got {unknown[0]!r}")
    if not all(math.isfinite(value) for value in (by.intercept, *by.weights.values())):
        raise ConfigError("score.weights", "must be finite, the intercept too")


def _best(asked: Words, neighbours: Sequence[Neighbour]) -> float:
    """Return the highest Jaccard index of all words with any of the neighbours; 0 without one."""
    return max((_shared(asked.all, words_of(each.text).all) for each in neighbours), default=0.0)


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0
