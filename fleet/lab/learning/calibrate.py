"""The step from labels to a calibration: scorer, threshold, guard, and measures of their quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fleet.lab.learning import fit, thresholds
from fleet.lab.learning.guards import guard
from fleet.lab.learning.labels import LARGEST_WEIGHT, Label
from fleet.lab.learning.looks import delta_at
from fleet.lab.learning.sample import Array, Rows, Sample, evened
from fleet.lab.metrics import metrics
from fleet.lab.metrics.bounds import binomial, hoeffding_bentkus
from fleet.model.calibration import Calibration, CalibrationKey, Guard, Probe, Scorer, Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.model.target import Target
from policies.confidence.lookup import is_of
from policies.confidence.scorer import probability
from policies.confidence.signals import Evidence


@dataclass(frozen=True, slots=True)
class Goal:
    """The aim of the threshold: see `ThresholdMode`. In mode fixed the rules hold it, and none is fitted.

    `look` is the number of this test of the promise (see `fleet.lab.learning.looks`); None: it is the only one there
    will ever be, and may spend all of delta.
    """

    mode: ThresholdMode
    risk: float = 0.05
    delta: float = 0.10
    escalation_rate: float = 0.30
    look: int | None = None

    @property
    def spent(self) -> float:
        """The share of delta that this test may spend."""
        return self.delta if self.look is None else delta_at(self.look, self.delta)


@dataclass(frozen=True, slots=True)
class UnusableLabels:
    """The reason why these labels make no calibration: `field` breaks `rule`."""

    field: str
    rule: str


def calibrate(
    key: CalibrationKey,
    target: Target,
    labels: Sequence[Label],
    strong: str | None,
    goal: Goal,
    parent: Calibration | None,
    now: float,
    version: str,
    rng: np.random.Generator,
    base: str = fit.BASE,
) -> Calibration | UnusableLabels:
    """Fit the calibration of `target` for `key`, against the stronger target named `strong`.

    Few labels are shrunk towards `parent`, a calibration one step up the hierarchy; it must have been fitted
    on other labels, and one of another model or kind of log-probabilities is not used. Brier score and ECE are
    cross-validated: every label is judged by a scorer that has not seen it. `now` is unix seconds; `rng` draws
    bootstrap samples.
    """
    origin = parent.scorer if parent is not None and is_of(parent, target) else None
    asked, labels = labels, [_at_first_sight(label) for label in labels]
    try:
        start = fit.start_of(base, origin)
        sample = fit.checked(labels, start)
        scorer, value, threshold = _scorers_and_threshold(sample, labels, start, goal, rng)
        probe, probe_scorer = _second_look(asked, scorer)
    except ConfigError as error:
        return UnusableLabels(error.field, error.rule)
    even = evened(sample.weights, rng)
    confidences = _confidences(scorer, labels)
    stated = fit.crossed(partial(fit.fit_sample, start=start), sample)
    return Calibration(
        key,
        target.model,
        target.revision,
        target.logprobs_mode,
        version,
        now,
        len(labels),
        scorer,
        strong,
        threshold,
        _guard(confidences if value is None else _confidences(value, labels), labels, threshold, even, rng),
        _inner_deciles(confidences[even]),
        float(np.average((stated - sample.good) ** 2, weights=sample.weights)),
        metrics.ece(stated, sample.good, weights=sample.weights),
        probe,
        probe_scorer,
        good=float(np.average(sample.good, weights=sample.weights)),
        value_scorer=value,
    )


def _inner_deciles(confidences: Array) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(confidences, np.arange(1, 10) / 10, method="inverted_cdf")))


def _at_first_sight(label: Label) -> Label:
    """Reduce the evidence to that of every answer; a second look is taken at few, and has a scorer of its own."""
    return replace(label, evidence=Evidence(label.evidence.features))


def _second_look(labels: Sequence[Label], first: Scorer) -> tuple[Probe | None, Scorer | None]:
    """Fit the scorer for answers that a probe has looked at, if enough labels tell what the probe is worth."""
    for probe, signal, known in (
        (Probe.P_TRUE, "p_true_logit", [label for label in labels if label.evidence.p_true is not None]),
        (Probe.SAMPLE, "agreement", [label for label in labels if label.evidence.agreement is not None]),
    ):
        if len({label.good for label in known}) < 2:
            continue
        found = fit.fit(known, parent=first)
        if signal in found.signals:
            return probe, found
    return None, None


def _scorers_and_threshold(
    sample: Sample, labels: Sequence[Label], start: Scorer, goal: Goal, rng: np.random.Generator
) -> tuple[Scorer, Scorer | None, Threshold | None]:
    scorer = fit.fit_sample(sample, start)
    match goal.mode:
        case ThresholdMode.FIXED:
            return scorer, None, None
        case ThresholdMode.BUDGET:
            rows = evened(sample.weights, rng)
            found = thresholds.budget_threshold(_confidences(scorer, labels)[rows], goal.escalation_rate)
            return scorer, None, found
        case ThresholdMode.GUARANTEE:
            return _guaranteed(scorer, sample, labels, start, goal)


def _guaranteed(
    scorer: Scorer, sample: Sample, labels: Sequence[Label], start: Scorer, goal: Goal
) -> tuple[Scorer, Scorer | None, Threshold]:
    """Choose a threshold on labels that have not decided in which order it cuts the answers.

    The order is that of P(good) or, where the labels show that it sorts better, of the value of asking the stronger
    target: a second scorer, which is returned beside the first.

    A scorer that leaves the start's order as it is (temperature, Platt, knots) may be fitted on the very labels that
    choose the threshold: each step of the test keeps the same answers whatever the fit, only its number differs. A mix
    of signals was ordered by its labels, so there every second label fits and the others test. Where the labels also
    decide between the two, either may fail, so each is allowed to half as often.
    """
    if sample.weights.min() < sample.weights.max() and any(label.weight >= LARGEST_WEIGHT for label in labels):
        raise ConfigError(
            "labels.weight", f"must be below {LARGEST_WEIGHT:g} for a guarantee: a clipped one counts too little"
        )
    rows = np.arange(len(labels))
    value = _value_scorer(sample, labels, rows, scorer)
    if value is not None or fit.rank_of(scorer) != fit.rank_of(start):
        half, rows = rows[::2], rows[1::2]
        scorer = fit.fit_sample(sample.take(half), start)
        value = _value_scorer(sample, labels, half, scorer)
    delta = goal.spent / 2 if fit.may_mix(sample, start) else goal.spent
    confidences = _confidences(value or scorer, labels)[rows]
    found = thresholds.learn_then_test(
        confidences,
        _losses(labels)[rows],
        thresholds.grid_of(confidences),
        goal.risk,
        delta,
        hoeffding_bentkus if goal.look is None else binomial,
        weights=sample.weights[rows],
    )
    return scorer, value, replace(found, delta=goal.delta)


def _value_scorer(sample: Sample, labels: Sequence[Label], rows: Rows, scorer: Scorer) -> Scorer | None:
    """Fit the value of asking the stronger target on those of the labels that know both answers."""
    known = rows[[labels[row].strong_good is not None for row in rows]]
    if len(known) < fit.FOR_LOGISTIC:
        return None
    return fit.fit_value(sample.take(known), _losses([labels[row] for row in known]), scorer)


def _confidences(scorer: Scorer, labels: Sequence[Label]) -> Array:
    """Return the dispatcher's confidences to the last bit: answers that all share one lie on the threshold."""
    return np.array([probability(scorer, label.evidence) for label in labels])


def _losses(labels: Sequence[Label]) -> Array:
    """Return the losses; an unknown answer of the strong target counts as right, which can only raise the threshold."""
    return thresholds.losses_of([label.good for label in labels], [label.strong_good is not False for label in labels])


def _guard(
    confidences: Array, labels: Sequence[Label], threshold: Threshold | None, even: Rows, rng: np.random.Generator
) -> Guard | None:
    """Return the guard by labels that know both answers; without a threshold, the less confident half escalates."""
    both = np.array([row for row in even if labels[row].strong_good is not None], dtype=np.intp)
    if not len(both):
        return None
    value = float(np.median(confidences)) if threshold is None else threshold.value
    weak = [labels[row].good for row in both]
    return guard(confidences[both], weak, [labels[row].strong_good is True for row in both], value, rng)
