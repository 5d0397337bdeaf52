"""Application of a fitted router: the chance that the small model suffices, from the text alone, in microseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log, sqrt
from operator import mul, sub

from fleet.model.router import Router, Tree
from policies.features.answer import answer_features
from policies.features.prompt import prompt_features, words

LABELS_TO_SWITCH_ON = 500

CLIP = 3.0
"""Standard deviations beyond which the linear part does not extrapolate."""


@dataclass(frozen=True, slots=True)
class RouterReading:
    """A router's view of a text: its chance, and whether it resembles what the router was trained on."""

    suffices: float
    familiar: bool


def suffices(router: Router, text: str, answer: str | None = None) -> float | None:
    """Return P(the small model's answer is as good as the strong one's); None if `text` is out of distribution.

    A router that reads answers needs the small model's `answer`; any other must not get one.
    Raises: ValueError if that does not fit.
    """
    seen = read(router, text, answer)
    return seen.suffices if seen.familiar else None


def read(router: Router, text: str, answer: str | None = None) -> RouterReading:
    """Read a text like `suffices`, but return the chance also where it must not be trusted: for evaluation."""
    if (answer is not None) != router.reads_answer:
        raise ValueError("answer: must be given to exactly the routers that read answers")
    tokens = words(text)
    features = prompt_features(text, tokens)
    if answer is not None:
        features += answer_features(text, answer)
    deviations = [
        (value - mean) / scale for value, mean, scale in zip(features, router.means, router.scales, strict=True)
    ]
    return RouterReading(_chance(router, tokens, features, deviations), _familiar(router, tokens, deviations))


def _familiar(router: Router, tokens: Sequence[str], deviations: Sequence[float]) -> bool:
    known = sum(map(router.terms.__contains__, tokens))
    outside = max(max(map(sub, router.lowest, deviations)), max(map(sub, deviations, router.highest)))
    return bool(tokens) and known >= router.fewest_known * len(tokens) and outside <= router.margin


def _chance(router: Router, tokens: Sequence[str], features: Sequence[float], deviations: Sequence[float]) -> float:
    text, linear, forest = router.blend
    log_odds = router.intercept
    if text:
        log_odds += text * _text_gain(router, tokens)
    if linear:
        log_odds += linear * sum([min(max(z, -CLIP), CLIP) * w for z, w in zip(deviations, router.linear, strict=True)])
    if forest:
        log_odds += forest * sum([_leaf(tree, features) for tree in router.trees]) / len(router.trees)
    return 1.0 / (1.0 + exp(-log_odds))


def _text_gain(router: Router, tokens: Sequence[str]) -> float:
    """Return the ridge score on sublinear TF-IDF of unit length (Salton & Buckley 1988); 0 where no word is known."""
    known = [(count, *router.terms[word]) for word, count in Counter(tokens).items() if word in router.terms]
    values = [(1.0 + log(count)) * idf for count, idf, _ in known]
    norm = sqrt(fsum(map(mul, values, values)))
    return fsum(value * weight for value, (_, _, weight) in zip(values, known, strict=True)) / norm if norm else 0.0


def _leaf(tree: Tree, features: Sequence[float]) -> float:
    while isinstance(tree, tuple):
        feature, threshold, below, above = tree
        tree = below if features[feature] <= threshold else above
    return tree


@dataclass(frozen=True, slots=True)
class RouterDecision:
    """The decision whether a router may decide, and its reason."""

    on: bool
    reason: str


def switch_on(fitted: Router) -> RouterDecision:
    """Switch a router on only if it surely beats sorting by length, and by task, on labels it had not seen.

    That is: the 95 % lower bound of its APGR is above the length order's, and above that of a table with one gain for
    each task where tasks are known, on LABELS_TO_SWITCH_ON labels or more.
    """
    if fitted.labels < LABELS_TO_SWITCH_ON:
        return RouterDecision(False, f"{fitted.labels} labels: it takes {LABELS_TO_SWITCH_ON} or more")
    if fitted.apgr_ci is None or fitted.length_apgr is None:
        return RouterDecision(False, "the strong target gains too little over the weak one for any order to matter")
    compared = f"APGR is at least {fitted.apgr_ci[0]:.3f}, by prompt length alone {fitted.length_apgr:.3f}"
    if fitted.apgr_ci[0] <= fitted.length_apgr:
        return RouterDecision(False, f"not surely better than prompt length: {compared}")
    if fitted.table_apgr is not None:
        compared = f"{compared}, by the table of tasks {fitted.table_apgr:.3f}"
        if fitted.apgr_ci[0] <= fitted.table_apgr:
            return RouterDecision(False, f"not surely better than the table of tasks: {compared}")
    return RouterDecision(True, f"better than prompt length: {compared}")
