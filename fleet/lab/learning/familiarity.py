"""Learns the texts a calibration has seen, and how odd a text may be before nothing is claimed about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fleet.lab.learning.sample import Array
from fleet.model.calibration import ANY, Calibration, Familiarity, Region
from fleet.model.job import ChatRequest
from policies.confidence.familiarity import ODDEST, hashes_of, numbers_of, read

UNFAMILIAR = 0.015
"""Share of familiar requests that may be taken for unfamiliar, by the quantile that sets the limit."""

FEWEST_TEXTS = 100
"""Minimum texts; with fewer the quantile is the oddest text there is."""

FEWEST_OF_A_TASK = 10
"""Minimum labels of a task to count as seen by a calibration of several tasks: no single voice makes one familiar."""

_FOLDS = 5
_MOST_WORDS = 2_000
_SHARE_OF_TEXTS = 0.003
_FEWEST_WITH_A_WORD = 3
"""Minimum texts with a known word: names come and go, and no single text must be recognisable by its words."""
_LEAST_VARIANCE = 0.05
_LEAST_SPREAD = 0.3
"""Minimum spread: a number that never varied among the labelled texts must not make the slightest change unheard of."""
_DIGITS = 5


def tasks_seen(family: str, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks that labels make familiar, in order: those with enough labels, or the one that is the key's."""
    return tuple(sorted(task for task, count in Counter(tasks).items() if task == family or count >= FEWEST_OF_A_TASK))


def tasks_lost(before: Calibration, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks, in order, that `before` knows and a calibration of labels of `tasks` in its place would not.

    It returns ANY where `before` does not say which it knows.
    """
    if not before.key.family.endswith(ANY):
        return ()
    if before.familiar is None:
        return (ANY,)
    return tuple(sorted(set(before.familiar.tasks).difference(tasks_seen(before.key.family, tasks))))


def familiarity(
    family: str, tasks: Sequence[str], requests: Sequence[ChatRequest], of_tasks: Sequence[str] | None = None
) -> Familiarity:
    """Return the scope of these labels; `requests` are those whose text is known, which may be few or none.

    `of_tasks` are the tasks of the requests, in the same order.
    """
    return Familiarity(tasks_seen(family, tasks), fit_region(requests, of_tasks))


def fit_region(requests: Sequence[ChatRequest], of_tasks: Sequence[str] | None = None) -> Region | None:
    """Fit the region of these requests' texts; None where there are too few.

    The limit holds for each of the tasks, if they are given: none of them pays for the margin of the others.

    Each text is measured by a region fitted without its fold, so that the limit, a quantile of these distances, leaves
    out no more than UNFAMILIAR of the next ones on average (cross-conformal prediction; Vovk 2015).
    """
    if len(requests) < FEWEST_TEXTS:
        return None
    texts = [read(request) for request in requests]
    common = Counter(word for text, _ in texts for word in hashes_of(text))
    fewest = max(_FEWEST_WITH_A_WORD, math.ceil(_SHARE_OF_TEXTS * len(texts)))
    words = frozenset(word for word, count in common.most_common(_MOST_WORDS) if count >= fewest)
    # A text does not prove that its own words are known.
    rare = {word for word in words if common[word] == fewest}
    numbers = np.array([numbers_of(text, turns, words - (rare & hashes_of(text))) for text, turns in texts])
    near, odd = _crossed(numbers)
    unit = np.array([np.quantile(near, 1 - UNFAMILIAR), np.quantile(odd, 1 - UNFAMILIAR)])
    further = np.maximum(near / unit[0], odd / unit[1])
    named = np.array(["" for _ in requests] if of_tasks is None else of_tasks)
    limit = max(_limit(further[named == task]) for task in dict.fromkeys(named.tolist()))
    means, rows, weights = _fitted(numbers)
    return Region(
        words=words,
        means=_plain(means),
        rows=tuple(_plain(row[: place + 1]) for place, row in enumerate(rows)),
        weights=_plain(weights),
        farthest=limit * float(unit[0]),
        oddest=limit * float(unit[1]),
    )


def _limit(further: Array) -> float:
    """Return the distance that all but UNFAMILIAR of these texts and of the next one keep within."""
    place = min(math.ceil((1 - UNFAMILIAR) * (len(further) + 1)), len(further)) - 1
    return float(np.sort(further)[place])


def _crossed(numbers: Array) -> tuple[Array, Array]:
    near, odd = np.empty(len(numbers)), np.empty(len(numbers))
    folds = np.random.default_rng(0).permutation(len(numbers)) % _FOLDS
    for fold in range(_FOLDS):
        means, rows, weights = _fitted(numbers[folds != fold])
        apart = numbers[folds == fold] - means
        near[folds == fold] = np.sqrt(((apart @ rows.T) ** 2).sum(axis=1))
        odd[folds == fold] = np.sqrt((np.minimum(np.abs(apart * weights), ODDEST) ** 2).sum(axis=1))
    return near, odd


def _fitted(numbers: Array) -> tuple[Array, Array, Array]:
    """Return means, the lower triangle that turns deviations into Mahalanobis's units, and one over each spread."""
    spread = np.cov(numbers.T) + np.eye(numbers.shape[1]) * _LEAST_VARIANCE
    rows: Array = np.linalg.inv(np.linalg.cholesky(spread))
    return numbers.mean(axis=0), rows, 1.0 / np.maximum(numbers.std(axis=0), _LEAST_SPREAD)


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
