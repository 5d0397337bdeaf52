"""Tests what the semantic cache may promise, on labels that dispatchers made of jobs and on what they keep.

The score is fitted on the cached questions alone; every label is left for the test of the threshold (see `fit.py`).
Tests of a tenant and task are made again as labels come, and share one delta (see `fleet.lab.learning.looks`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fleet.embedding.encoder import Encoder
from fleet.lab.caching.entries import Entries
from fleet.lab.caching.fit import fit_score, fit_threshold, scores
from fleet.lab.learning.looks import delta_at, is_due
from fleet.lab.learning.sample import Array
from fleet.lab.learning.thresholds import labels_missing
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import AnswerScore, CacheCalibration, Near, SemanticMode
from fleet.model.calibration import NO_LOOKS, Looks, Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.ports import CachePromises, Journal
from policies.caching.exact import answer_in
from policies.caching.semantic import score_of
from policies.caching.verifying import GREY, is_asked
from policies.features.agreement import identity
from policies.rules.caching import SemanticRules

MOST_ENTRIES = 2000
"""Cached questions on which a score is fitted, the newest ones: all are compared with all."""

LOWEST = -1e6
"""A score below all others."""

TaskKey = tuple[str, str]
"""A tenant and a task of it."""


@dataclass(frozen=True, slots=True)
class CacheLabel:
    """What a model's answer said of the cache at `at`, in unix seconds."""

    near: Near
    at: float


@dataclass(frozen=True, slots=True)
class PromiseOutcome:
    """What came of one tenant and task: the promise to put in force, if there is one, or `why` there is none.

    `served` is the share of the labelled requests that it serves, `labels_missing` how many labels more it takes.
    """

    tenant: str
    task: str
    labels: int
    questions: int
    promise: CacheCalibration | None = None
    served: float = 0.0
    labels_missing: int = 0
    why: str | None = None


async def collect(journal: Journal) -> Mapping[TaskKey, Sequence[CacheLabel]]:
    """Return every label in the ledger's stream, by tenant and task. Raises: QueueUnavailable."""
    found: defaultdict[TaskKey, list[CacheLabel]] = defaultdict(list)
    async for line in journal.ledger():
        near = None if line.attempt is None or line.task is None else line.attempt.near
        if near is not None and line.task is not None and near.same is not None and near.propensity is not None:
            found[line.tenant, line.task].append(CacheLabel(near, line.at))
    return found


def fit_promises(
    labels: Mapping[TaskKey, Sequence[CacheLabel]],
    kept: Sequence[CacheEntry],
    encoder: Encoder,
    encoder_name: str,
    before: CachePromises,
    rules: SemanticRules,
    at: float,
    verifier: str | None = None,
) -> list[PromiseOutcome]:
    """Test what may be promised to each tenant and task that the cache is on for and that has labels.

    Where enough labels have the word of `verifier`, the promise is tested with it.
    """
    used = {key: each for key, each in labels.items() if rules.mode_of(*key) is not SemanticMode.OFF}
    delta = rules.delta / max(1, len(used))
    found = []
    for (tenant, task), ours in sorted(used.items()):
        entries = [each for each in kept if (each.tenant, each.task) == (tenant, task) and each.scope is not None]
        case = _Case(tenant, task, _usable(ours, encoder_name, before.get((tenant, task))), entries, delta, rules)
        case = case.verified_by(verifier, before.get((tenant, task)))
        found.append(case.outcome(encoder, encoder_name, before.get((tenant, task)), at))
    return found


def _usable(labels: Sequence[CacheLabel], encoder_name: str, before: CacheCalibration | None) -> Sequence[CacheLabel]:
    """Return the labels with cosines of this encoder; after a withdrawal, those since the withdrawn one was tested."""
    since = _since(before)
    return [each for each in labels if each.near.encoder == encoder_name and each.at > since]


def _since(before: CacheCalibration | None) -> float:
    """Return from when on labels count: what was true before the last withdrawal is so no more, whatever came since."""
    if before is None:
        return 0.0
    return before.since if before.withdrawn is None else before.looks.at


@dataclass(frozen=True, slots=True)
class _Case:
    """One tenant and task: its labels, the entries it has in the cache, and its part of delta."""

    tenant: str
    task: str
    labels: Sequence[CacheLabel]
    entries: Sequence[CacheEntry]
    delta: float
    rules: SemanticRules
    verifier: str | None = None

    def verified_by(self, verifier: str | None, before: CacheCalibration | None) -> _Case:
        """Return the case of the labels with this verifier's word, if they are enough for a test; else this one.

        Labels of questions that it is not asked about count as well: they are a miss, here and when it is served.
        """
        if verifier is None:
            return self
        heard = [each for each in self.labels if each.near.verifier == verifier or not is_asked(each.near)]
        found = replace(self, labels=heard, verifier=verifier)
        looks = NO_LOOKS if before is None else before.looks
        return self if found._missing(delta_at(looks.count + 1, self.delta)) else found

    def outcome(
        self, encoder: Encoder, encoder_name: str, before: CacheCalibration | None, at: float
    ) -> PromiseOutcome:
        told = PromiseOutcome(self.tenant, self.task, len(self.labels), len(self.entries))
        looks = NO_LOOKS if before is None else before.looks
        delta, weights = delta_at(looks.count + 1, self.delta), self._weights()
        if missing := self._missing(delta):
            empty = self._empty(encoder_name, missing, at) if before is None or not before.looks.count else None
            return replace(told, promise=empty, labels_missing=missing, why="too few labels")
        stays = before is not None and before.withdrawn is None and self.rules.covers(before)
        was_tightened = before is not None and not self.rules.covers(before)
        fresh = sum(each.at > looks.at for each in self.labels)
        if not was_tightened and not is_due(looks, fresh, len(self.labels)):
            return replace(told, why="tested, and few labels are new since")
        try:
            by = fit_score(self._newest(encoder))
        except ConfigError as error:
            if before is None or before.encoder != encoder_name:
                return replace(told, why=f"what is kept {error.rule}")
            by = before.score
        threshold, served = self._tested(by, delta, weights)
        spent = Looks(looks.count + 1, len(self.labels), at)
        about = (f"cache-{at:.0f}", self.tenant, self.task, encoder_name)
        grey = None if self.verifier is None else GREY
        named = CacheCalibration(*about, by, threshold, grey, verifier=self.verifier, looks=spent, since=_since(before))
        why = None if np.isfinite(threshold.value) else "no threshold keeps the promise"
        if why is not None and before is not None and stays:
            named, why = replace(before, looks=spent), "the one before stays: this test passed nothing"
        return replace(told, promise=named, served=served, labels_missing=threshold.labels_missing, why=why)

    def _empty(self, encoder_name: str, missing: int, at: float) -> CacheCalibration:
        """Return a promise that serves nothing and says how many labels are missing."""
        limit = Threshold(ThresholdMode.GUARANTEE, math.inf, math.inf, self.rules.risk, self.rules.delta, missing)
        score = AnswerScore(0.0, {}, ())
        return CacheCalibration(f"cache-{at:.0f}", self.tenant, self.task, encoder_name, score, limit)

    def _missing(self, delta: float) -> int:
        """Return how many labels are missing before anything can be promised at this delta."""
        return labels_missing(self._weights(), self.rules.risk, delta)

    def _weights(self) -> Array:
        """Return one over the propensity of each label."""
        return np.array([1.0 / (each.near.propensity or 1.0) for each in self.labels])

    def _newest(self, encoder: Encoder) -> Entries:
        """Return the newest entries of the scope that has most: only questions of one scope are ever compared."""
        scopes = Counter(each.scope for each in self.entries)
        [(scope, _)] = scopes.most_common(1) or [(None, 0)]
        newest = sorted((each for each in self.entries if each.scope == scope), key=lambda each: -each.answered_at)
        chosen = newest[:MOST_ENTRIES]
        texts = [each.question or "" for each in chosen]
        return Entries(texts, [identity(answer_in(each)) for each in chosen], encoder.encode(texts))

    def _scores(self, by: AnswerScore) -> Array:
        """Return what each label is decided by: LOWEST for what is a miss without the verifier's word."""
        if self.verifier is None:
            return scores(np.array([each.near.signals for each in self.labels]), by)
        limit = Threshold(ThresholdMode.GUARANTEE, 0.0, 0.0)
        promise = CacheCalibration("", self.tenant, self.task, "", by, limit, GREY, verifier=self.verifier)
        found = [score_of(each.near, promise) for each in self.labels]
        return np.array([LOWEST if each is None else each for each in found])

    def _tested(self, by: AnswerScore, delta: float, weights: Array) -> tuple[Threshold, float]:
        """Return the threshold with a promise, and the share of these requests that it serves."""
        values = self._scores(by)
        wrong = np.array([not each.near.same for each in self.labels], dtype=np.float64)
        found = fit_threshold(values, wrong, self.rules.risk, delta, 1, weights)
        return found, float(((values >= found.value) * weights).sum() / weights.sum())
