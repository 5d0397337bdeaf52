"""The three parts of a router, fitted on the gain of asking the strong target: words, a line, a forest.

The target is strong minus weak goodness, not weak goodness alone: what both targets get wrong is not worth a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from fleet.lab.metrics.curve import Array
from fleet.model.errors import ConfigError
from fleet.model.router import Tree
from policies.features.answer import answer_features
from policies.features.prompt import prompt_features, words
from policies.routing.learned_router import CLIP

Rows = npt.NDArray[np.int64]

_WORD_PENALTY = 50.0
_LINE_PENALTY = 200.0
"""Ridge penalties: correctness is mostly a coin flip, so both are far stronger than scikit-learn's defaults."""
_TREES = 50
_MOST_LEAVES = 50
_MOST_WORDS = 8_000
"""Limits that keep the exported router below 512 KiB however many labels there are."""
_LEAST_SCALE = 0.05
"""Minimum scale: a feature that never varied in training must not make the slightest change look unheard of."""
_DIGITS = 7


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Prompts prepared for fitting: the words of each, and a row of explicit features."""

    tokens: list[list[str]]
    features: Array

    @classmethod
    def of(cls, prompts: Sequence[str], answers: Sequence[str] | None) -> Texts:
        tokens = [words(prompt) for prompt in prompts]
        rows = [prompt_features(prompt, found) for prompt, found in zip(prompts, tokens, strict=True)]
        if answers is not None:
            rows = [row + answer_features(*pair) for row, *pair in zip(rows, prompts, answers, strict=True)]
        return cls(tokens, np.array(rows, dtype=np.float64))

    def rows(self, which: Rows) -> Texts:
        return Texts([self.tokens[row] for row in which], self.features[which])


@dataclass(frozen=True, slots=True, eq=False)
class FittedParts:
    """The fitted scikit-learn models; the exported router must reproduce their `gains`."""

    vectorizer: Any
    word_ridge: Any
    means: Array
    scales: Array
    lowest: Array
    highest: Array
    line: Any
    forest: Any

    def gains(self, texts: Texts) -> Array:
        """Return the predicted gains, a row per text and a column per part: words, line, forest.

        The line's and the words' intercepts are left out: the blend has its own.
        """
        found = self.vectorizer.transform(texts.tokens) @ self.word_ridge.coef_
        line = np.clip(self.deviations(texts), -CLIP, CLIP) @ self.line.coef_
        return np.column_stack([found, line, self.forest.predict(texts.features)])

    def deviations(self, texts: Texts) -> Array:
        """Return the features in standard deviations from the training mean."""
        scaled: Array = (texts.features - self.means) / self.scales
        return scaled

    def outside(self, texts: Texts) -> Array:
        """Return how many standard deviations each text's oddest feature is outside the training range; below 0 inside.

        The distance from the mean does not count: a rare value that was seen is no reason to refuse.
        """
        deviations = self.deviations(texts)
        beyond: Array = np.maximum(self.lowest - deviations, deviations - self.highest).max(axis=1)
        return beyond

    def known_share(self, texts: Texts) -> Array:
        """Return the share of each text's words that are in the vocabulary; 0 for a text without words."""
        known = self.vectorizer.vocabulary_
        return np.array([sum(word in known for word in found) / max(len(found), 1) for found in texts.tokens])


def fit_parts(texts: Texts, gain: Array, smallest_leaf: int, seed: int) -> FittedParts:
    """Fit the parts to these texts. The same seed gives the same parts.

    Raises: ConfigError if no word occurs in two prompts.
    """
    vectorizer = TfidfVectorizer(analyzer=list, sublinear_tf=True, min_df=2, max_features=_MOST_WORDS)
    try:
        counted = vectorizer.fit_transform(texts.tokens)
    except ValueError:
        raise ConfigError("prompts", "must share words: none occurs in two of them") from None
    means, scales = texts.features.mean(axis=0), np.maximum(texts.features.std(axis=0), _LEAST_SCALE)
    deviations = (texts.features - means) / scales
    leaf = max(smallest_leaf, len(gain) // _MOST_LEAVES)
    return FittedParts(
        vectorizer=vectorizer,
        word_ridge=Ridge(alpha=_WORD_PENALTY, solver="sparse_cg").fit(counted, gain),
        means=means,
        scales=scales,
        lowest=deviations.min(axis=0),
        highest=deviations.max(axis=0),
        line=Ridge(alpha=_LINE_PENALTY).fit(np.clip(deviations, -CLIP, CLIP), gain),
        forest=ExtraTreesRegressor(_TREES, min_samples_leaf=leaf, random_state=seed).fit(texts.features, gain),
    )


def plain_terms(parts: FittedParts) -> dict[str, tuple[float, float]]:
    """Return every word of the vocabulary with its inverse document frequency and its ridge weight."""
    idf, weights = rounded(parts.vectorizer.idf_), rounded(parts.word_ridge.coef_)
    return {word: (idf[place], weights[place]) for word, place in sorted(parts.vectorizer.vocabulary_.items())}


def plain_trees(parts: FittedParts) -> tuple[Tree, ...]:
    """Return the forest as nested tuples."""
    return tuple(_plain(estimator.tree_, 0) for estimator in parts.forest.estimators_)


def rounded(values: Array) -> tuple[float, ...]:
    """Round to as many digits as scores can show, so that a router stays small."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())


def _plain(tree: Any, node: int) -> Tree:
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    if left == right:
        return rounded(tree.value[node].ravel())[0]
    # Not rounded: features are compared in double precision here, where scikit-learn rounds them to single.
    return (int(tree.feature[node]), float(tree.threshold[node]), _plain(tree, left), _plain(tree, right))
