"""The values of the semantic cache: what is near a question, how an answer is scored, and what is promised of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fleet.model.calibration import Threshold


class SemanticMode(StrEnum):
    """What the semantic cache does: nothing, decide but serve nothing, or serve what its promise covers."""

    OFF = "off"
    SHADOW = "shadow"
    GUARANTEE = "guarantee"


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


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """The log-odds that a cached answer is the right one: intercept + sum(weights x signals).

    `weights` are by the names of `policies.caching.signals`. A signal among `vetoes` that is not 0 makes a miss
    whatever the sum says. `words` says in how many
    of `entries` cached questions a word occurs: rare words tell more. An empty one treats all words alike.
    """

    intercept: float
    weights: Mapping[str, float]
    vetoes: tuple[str, ...]
    words: Mapping[str, int]
    entries: int


@dataclass(frozen=True, slots=True)
class CacheCalibration:
    """The promise for one tenant and task: with probability 1 - delta over the labels, at most `threshold.risk` of all
    requests are served an answer that is not the same as the right one.

    `threshold.value` is a log-odds; infinity serves nothing, and `threshold.labels_missing` then says how many labels
    more it takes. Scores within `grey` (low, high), where it is given, are decided with a verifier's word, which counts
    with the weight `verified`. Both are fixed before the threshold is tested.
    """

    version: str
    tenant: str
    task: str
    score: AnswerScore
    threshold: Threshold
    grey: tuple[float, float] | None = None
    verified: float = 1.0
