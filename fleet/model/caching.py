"""The values of the semantic cache: what is near a question, how an answer is scored, and what is promised of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fleet.model.calibration import NO_LOOKS, Looks, Threshold
from fleet.model.unguarded import unguarded


class SemanticMode(StrEnum):
    """What the semantic cache does: nothing, decide but serve nothing, or serve what its promise covers."""

    OFF = "off"
    SHADOW = "shadow"
    GUARANTEE = "guarantee"


@dataclass(frozen=True, slots=True)
class Question:
    """A text that is asked. `scope` is the key of all else that goes for its answer: equal where only texts differ."""

    tenant: str
    scope: str
    text: str


@dataclass(frozen=True, slots=True)
class CachedQuestion:
    """A question that was answered: `entry` is its key in the cache, `answer` the identity of its answer."""

    question: Question
    entry: str
    answer: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A cached question near the one that is asked.

    `entry` is its key in the cache, `answer` the identity of its answer (entries with equal answers share it), `cosine`
    the similarity of the two texts.
    """

    entry: str
    text: str
    answer: str
    cosine: float


@unguarded
@dataclass(frozen=True, slots=True)
class Near:
    """What the cache has nearest to a job's question: entry `entry`, with the signals of its answer.

    `signals` are those of `policies.caching.signals`, whose cosines are by `encoder`. Where a model answered all the
    same, it is a label: `same` says whether both answers are the same, and `propensity` with which probability a
    question with these signals had a model answer it. Both are None while that is not known. `verified` is the
    probability that both questions have the same answer, by the model named `verifier`, where one was asked.
    """

    entry: str
    encoder: str
    signals: tuple[float, ...]
    propensity: float | None = None
    same: bool | None = None
    verifier: str | None = None
    verified: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """The log-odds that a cached answer is the right one: intercept + sum(weights x signals).

    `weights` are by the names of `policies.caching.signals`. A signal among `vetoes` that is not 0 makes a miss
    whatever the sum says.
    """

    intercept: float
    weights: Mapping[str, float]
    vetoes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheCalibration:
    """The promise for one tenant and task: with probability 1 - delta over the labels, at most `threshold.risk` of all
    requests are served an answer that is not the same as the right one.

    `threshold.value` is a log-odds; infinity serves nothing, and `threshold.labels_missing` then says how many labels
    more it takes. It holds for vectors of `encoder`. Scores within `grey` (low, high), where it is given, are decided
    with the word of `verifier`, which counts with the weight `verified`. All are fixed before the threshold is tested.
    `withdrawn` says why the promise was taken back, `looks` are the tests of its tenant and task so far. It was tested
    with labels made after `since`, which is when the last one that had to be withdrawn was tested.
    """

    version: str
    tenant: str
    task: str
    encoder: str
    score: AnswerScore
    threshold: Threshold
    grey: tuple[float, float] | None = None
    verified: float = 1.0
    verifier: str | None = None
    withdrawn: str | None = None
    looks: Looks = NO_LOOKS
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class DisownedHit:
    """A hit of the semantic cache that a user calls bad: of which job and task, and when it was served."""

    job_id: str
    task: str
    served_at: float
