"""Fits a router to labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from fleet.lab.metrics.curve import Array, apgr, length_score, router
from fleet.lab.metrics.metrics import bootstrap_ci
from fleet.lab.router.parts import FittedParts, Rows, Texts, fit_parts, plain_terms, plain_trees, rounded
from fleet.lab.router.tasks import gains_by_task
from fleet.model.errors import ConfigError
from fleet.model.router import Interval, Router, to_plain
from policies.features.answer import ANSWER_FEATURES
from policies.features.prompt import PROMPT_FEATURES

FEWEST_LABELS = 100
"""Minimum labels; with fewer, five folds of words say nothing."""
FEWEST_OF_A_KIND = 10
_FOLDS = 5
_LEAST_MARGIN = 0.1
"""Minimum margin in standard deviations: rounding must not push the edge of a range out of it."""
_LEAST_SPREAD = 1e-9
_LEAF_OF_PROMPTS = 20
_LEAF_OF_ANSWERS = 10
_UNLIKE = 0.002
"""Share of training prompts, seen with their fold left out, that either test may call out of distribution."""

_VOTES_ON_PROMPTS = (1.0, 0.0, 1.0)
_VOTES_ON_ANSWERS = (0.0, 1.0, 1.0)
"""Votes of words, line and forest: equal votes of two parts. A prompt's topic is in its words; an answer's faults show
in things that can be counted, which a line adds up. Weights learned from labels this noisy did worse than equal ones.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Checked labels: texts, and how good either target's answers to them were, in [0, 1]."""

    prompts: Sequence[str]
    weak_good: Array
    strong_good: Array
    answers: Sequence[str] | None
    tasks: Sequence[str] | None = None

    @property
    def gain(self) -> Array:
        return self.strong_good - self.weak_good

    @property
    def smallest_leaf(self) -> int:
        """Minimum size of a leaf: a checked answer says much more than its question, so groups can be smaller."""
        return _LEAF_OF_PROMPTS if self.answers is None else _LEAF_OF_ANSWERS

    @property
    def suffices(self) -> Array:
        return (self.gain <= 0).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Unseen:
    """Predictions for each label by parts fitted without its fold: the only honest look at training labels."""

    gains: Array
    outside: Array
    known: Array
    by_task: Array


@dataclass(frozen=True, slots=True)
class Blend:
    """The formula from the parts' gains to the log-odds that the small model suffices."""

    weights: tuple[float, float, float]
    intercept: float

    def log_odds(self, gains: Array) -> Array:
        odds: Array = gains @ np.array(self.weights) + self.intercept
        return odds


def fit_router(
    prompts: Sequence[str],
    weak_good: Sequence[float],
    strong_good: Sequence[float],
    rng: np.random.Generator,
    *,
    answers: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    weak: str = "weak",
    strong: str = "strong",
) -> Router:
    """Fit a router for this pair of targets; with the weak target's `answers`, a scorer of answers.

    With the prompts' `tasks` it is also held against the table of tasks.

    Goodness is in [0, 1]. Blend, calibration, out-of-distribution limits and the reported APGR all come from five-fold
    cross-validation on these labels, in which equal prompts share a fold.
    Raises: ConfigError naming the field and the rule, for labels that are too few, unequal in number, not in [0, 1], of
    one kind only, or for prompts without words in common.
    """
    fitted = fit_with_parts(
        prompts, weak_good, strong_good, rng, answers=answers, tasks=tasks, weak=weak, strong=strong
    )
    return fitted[0]


def fit_with_parts(
    prompts: Sequence[str],
    weak_good: Sequence[float],
    strong_good: Sequence[float],
    rng: np.random.Generator,
    *,
    answers: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    weak: str = "weak",
    strong: str = "strong",
) -> tuple[Router, FittedParts, Blend]:
    """Fit a router like `fit_router`; return also the scikit-learn models it was exported from."""
    labels = replace(_checked(prompts, weak_good, strong_good, answers), tasks=tasks)
    texts = Texts.of(prompts, answers)
    unseen = _cross_fit(labels, texts, rng)
    blend = _blend(unseen.gains, labels)
    parts = fit_parts(texts, labels.gain, labels.smallest_leaf, _seed(rng))
    judged, length = _held_out(blend.log_odds(unseen.gains), labels, rng)
    table = None if tasks is None else _apgr(-unseen.by_task, labels.weak_good, labels.strong_good)
    fitted = replace(_exported(labels, parts, blend, unseen), weak=weak, strong=strong)
    fitted = replace(fitted, apgr=judged[0], apgr_ci=judged[1], length_apgr=length[0], length_apgr_ci=length[1])
    fitted = replace(fitted, table_apgr=table)
    return replace(fitted, version=_version_of(fitted)), parts, blend


def _checked(
    prompts: Sequence[str], weak_good: Sequence[float], strong_good: Sequence[float], answers: Sequence[str] | None
) -> Labels:
    count = len(set(prompts))
    if count < FEWEST_LABELS:
        raise ConfigError("prompts", f"must be at least {FEWEST_LABELS} different ones, not {count}")
    for name, column in (("weak_good", weak_good), ("strong_good", strong_good), ("answers", answers)):
        if column is not None and len(column) != len(prompts):
            raise ConfigError(name, f"must have one value per prompt: {len(prompts)}, not {len(column)}")
    labels = Labels(prompts, _goodness("weak_good", weak_good), _goodness("strong_good", strong_good), answers)
    fewer = int(min(labels.suffices.sum(), (1 - labels.suffices).sum()))
    if fewer < FEWEST_OF_A_KIND:
        rule = f"must be better than weak_good on {FEWEST_OF_A_KIND} prompts or more, and not better on as many"
        raise ConfigError("strong_good", rule)
    return labels


def _goodness(name: str, values: Sequence[float]) -> Array:
    column = np.asarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~((column >= 0) & (column <= 1)))
    if len(wrong):
        raise ConfigError(f"{name}[{wrong[0]}]", f"must be in [0, 1], not {column[wrong[0]]}")
    return column


def _cross_fit(labels: Labels, texts: Texts, rng: np.random.Generator) -> _Unseen:
    fold = _folds(labels.prompts, rng)
    seen = _Unseen(*(np.zeros(shape) for shape in ((len(fold), 3), len(fold), len(fold), len(fold))))
    for number in range(_FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        parts, judged = (
            fit_parts(texts.rows(inside), labels.gain[inside], labels.smallest_leaf, _seed(rng)),
            texts.rows(outside),
        )
        seen.gains[outside] = parts.gains(judged)
        seen.outside[outside] = parts.outside(judged)
        seen.known[outside] = parts.known_share(judged)
        if labels.tasks is not None:
            known, asked = ([labels.tasks[row] for row in rows] for rows in (inside, outside))
            seen.by_task[outside] = gains_by_task(known, labels.gain[inside], asked)
    return seen


def _folds(prompts: Sequence[str], rng: np.random.Generator) -> Rows:
    distinct, which = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    folds: Rows = (rng.permutation(len(distinct)) % _FOLDS)[which]
    return folds


def _exported(labels: Labels, parts: FittedParts, blend: Blend, unseen: _Unseen) -> Router:
    """Return the fitted parts as plain values, not yet named or judged."""
    return Router(
        version="",
        weak="",
        strong="",
        labels=len(labels.gain),
        reads_answer=labels.answers is not None,
        features=PROMPT_FEATURES + (ANSWER_FEATURES if labels.answers is not None else ()),
        means=rounded(parts.means),
        scales=rounded(parts.scales),
        linear=rounded(parts.line.coef_),
        terms=plain_terms(parts),
        trees=plain_trees(parts),
        blend=blend.weights,
        intercept=blend.intercept,
        lowest=rounded(parts.lowest),
        highest=rounded(parts.highest),
        margin=max(float(np.quantile(unseen.outside, 1 - _UNLIKE)), _LEAST_MARGIN),
        fewest_known=float(np.quantile(unseen.known, _UNLIKE)),
        suffices_share=float(labels.suffices.mean()),
        apgr=None,
        apgr_ci=None,
        length_apgr=None,
        length_apgr_ci=None,
    )


def _blend(gains: Array, labels: Labels) -> Blend:
    """Blend equal votes of the parts, each in units of its own spread, with Platt's slope and intercept (1999)."""
    votes = _VOTES_ON_PROMPTS if labels.answers is None else _VOTES_ON_ANSWERS
    weights = np.array(votes) / np.maximum(gains.std(axis=0), _LEAST_SPREAD)
    score = gains @ weights
    middle, width = float(score.mean()), max(float(score.std()), _LEAST_SPREAD)
    platt = LogisticRegression(C=1.0).fit(((score - middle) / width)[:, None], labels.suffices)
    # More predicted gain never makes the small model likelier to suffice, whatever a few labels say.
    slope = min(float(platt.coef_[0, 0]), 0.0) / width
    words, line, forest = (float(weight) for weight in weights * slope)
    return Blend((words, line, forest), float(platt.intercept_[0]) - slope * middle)


def _held_out(
    log_odds: Array, labels: Labels, rng: np.random.Generator
) -> tuple[tuple[float | None, Interval | None], tuple[float | None, Interval | None]]:
    length = length_score([len(prompt) for prompt in labels.prompts])
    judged = [
        (_apgr(score, labels.weak_good, labels.strong_good),
         bootstrap_ci(_apgr, (score, labels.weak_good, labels.strong_good), rng))
        for score in (log_odds, length)
    ]  # fmt: skip
    return judged[0], judged[1]


def _apgr(score: Array, weak_good: Array, strong_good: Array) -> float | None:
    return apgr(router(score, weak_good, strong_good))


def _version_of(fitted: Router) -> str:
    content = json.dumps(to_plain(fitted), sort_keys=True).encode()
    return f"router-{hashlib.sha256(content).hexdigest()[:12]}"


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
