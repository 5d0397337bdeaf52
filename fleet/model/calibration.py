"""Fitted knowledge of how far answers can be trusted: plain values, fitted offline, applied everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.model.adapter import ADAPTER_DIGEST

ANY = "*"
"""The task family or output kind that stands for all that have no calibration of their own."""


class OutputKind(StrEnum):
    """The form of an answer; log-probabilities mean something different in each."""

    TOKEN = "token"  # noqa: S105 (one of a model's tokens)
    SHORT = "short"
    LONG = "long"
    JSON = "json"
    TOOL_CALL = "tool_call"


class Probe(StrEnum):
    """A second look at an answer the score alone does not settle; each costs a call.

    P_TRUE asks the same model in one token whether its answer is right; SAMPLE asks the question again
    and compares; PREFILL lets the next target read the answer and say in one token whether it is right.
    """

    P_TRUE = "p_true"
    SAMPLE = "sample"
    PREFILL = "prefill"


class Fit(StrEnum):
    """The method by which a scorer was fitted, from few labels to many."""

    PRIOR = "prior"
    TEMPERATURE = "temperature"
    PLATT = "platt"
    LOGISTIC = "logistic"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True)
class Scorer:
    """P(good) = sigmoid(intercept + sum(weights x signals)), then through `knots` where there are any.

    `signals` are names that `policies.confidence.signals` knows. `knots` are (P in, P out) pairs, rising in both,
    joined by straight lines.
    """

    fit: Fit
    signals: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    knots: tuple[tuple[float, float], ...] = ()


class ThresholdMode(StrEnum):
    """The source of a threshold: the rules, a wanted share of escalations, or a promised risk."""

    FIXED = "fixed"
    BUDGET = "budget"
    GUARANTEE = "guarantee"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Answers with less confidence than `value` escalate; infinity escalates all.

    In mode guarantee: with probability 1 - `delta` over the labels, none of the thresholds ever in force for a key,
    through refits, roll-backs and changes of adapter, keeps more than `risk` of the requests it judges with an answer
    that is wrong where `strong` would have been right.
    `labels_missing` says how many more labels it takes before any answer can be kept. `safer` is the value to fall
    back to when the guarantee is withdrawn.
    """

    mode: ThresholdMode
    value: float
    safer: float
    risk: float | None = None
    delta: float | None = None
    labels_missing: int = 0


class Guard(StrEnum):
    """Reasons why a cascade is off.

    NO_BETTER_THAN_MIXING: confidence does not sort these answers, so all of them are treated alike, by the share that
    is good. STRONG_DOES_NOT_GAIN: the stronger target gains nothing on what it gets, so nothing escalates.
    """

    NO_BETTER_THAN_MIXING = "no_better_than_mixing"
    STRONG_DOES_NOT_GAIN = "strong_does_not_gain"


@dataclass(frozen=True, slots=True, order=True)
class CalibrationKey:
    """The scope of a calibration: a target's answers of one `kind` to tasks of one `family` (or `ANY`).

    `adapter` is the digest of the adapter they were given with; empty: by the model's own weights alone.
    """

    target: str
    family: str = ANY
    kind: str = ANY
    adapter: str = ""

    def __str__(self) -> str:
        """Return the key in words, such as `llama-8b/classify.intent/token`, then the adapter if there is one."""
        return "/".join(part for part in (self.target, self.family, self.kind, self.adapter) if part)

    @property
    def without_adapter(self) -> CalibrationKey:
        """The key of the same answers, whichever adapter they are given with: one promise holds over all of these."""
        return CalibrationKey(self.target, self.family, self.kind)

    @staticmethod
    def of(parts: Sequence[str]) -> CalibrationKey | None:
        """Return the key of these parts, of which the fourth may be missing; None if they make none."""
        whole = len(parts) == 3 or (len(parts) == 4 and ADAPTER_DIGEST.fullmatch(parts[3]) is not None)
        return CalibrationKey(*parts) if whole and all(parts) else None


@dataclass(frozen=True, slots=True)
class Looks:
    """The tests of a key's promise so far, over all its calibrations: each test spends some of its delta.

    `count` is the number of its last test, from 1, in one sequence with those of all other adapters of the key.
    `labels` is how many labels that test had, `digest` which labels and what they said, and `at` when it was, in unix
    seconds.
    """

    count: int = 0
    labels: int = 0
    at: float = 0.0
    digest: str = ""


NO_LOOKS = Looks()


@dataclass(frozen=True, slots=True)
class Region:
    """The region in which the labelled texts lie, in the numbers of `policies.confidence.familiarity`.

    `words` are hashes of words that occur in several of them. `rows`, a lower triangle, turn the deviations of a text's
    numbers from the `means` into Mahalanobis's distance; `weights` turn them into standard deviations. Beyond
    `farthest` or `oddest` a text is unfamiliar.
    """

    words: frozenset[int]
    means: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    farthest: float
    oddest: float


@dataclass(frozen=True, slots=True)
class Familiarity:
    """The material of a calibration: `tasks` with labels, and the region of their texts (None: not kept)."""

    tasks: tuple[str, ...]
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration, which holds for exactly this model, revision and log-probability mode.

    `version` names it in every decision; `fitted_at` is unix seconds. `edges` are the inner deciles of the
    calibrated confidences it was fitted on, against which drift is measured. `probe_scorer` is used once the
    probe has been asked, `grey` is the band of confidence [low, high) in which asking pays. `withdrawn` says why its
    promise no longer holds, `good` is the share of good answers among the labels. `looks` are those of its key.
    `familiar` is what it was fitted on: it says nothing about anything else (None: it covers all of its key's scope).
    `value_scorer` gives the probability that asking `strong` is of no value: that not this answer is wrong and that one
    right. Where there is one, the threshold of a promise is held against it in place of P(good).
    """

    key: CalibrationKey
    model: str
    revision: str
    logprobs_mode: str
    version: str
    fitted_at: float
    labels: int
    scorer: Scorer
    strong: str | None = None
    threshold: Threshold | None = None
    guard: Guard | None = None
    edges: tuple[float, ...] = ()
    brier: float | None = None
    ece: float | None = None
    probe: Probe | None = None
    probe_scorer: Scorer | None = None
    grey: tuple[float, float] | None = None
    withdrawn: str | None = None
    good: float | None = None
    looks: Looks = NO_LOOKS
    familiar: Familiarity | None = None
    value_scorer: Scorer | None = None

    @property
    def sorter(self) -> Scorer:
        """The scorer whose probability a threshold of mode guarantee is held against."""
        return self.scorer if self.value_scorer is None else self.value_scorer
