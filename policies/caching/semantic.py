"""The decision of the semantic cache: serve a cached answer, or ask a model.

It decides on single-turn requests only: the last message of a thread is not its question. It serves nothing without a
calibration of this tenant and task whose promise was tested; without one, only the exact cache answers.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.model.action import Reply
from fleet.model.attempt import Answer
from fleet.model.caching import CacheCalibration, Near, SemanticMode
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.target import SEMANTIC
from fleet.model.view import View
from policies.caching.exact import answer_in, may_answer, whose
from policies.caching.signals import score
from policies.features.agreement import agree
from policies.rules.rules import Rules

_SUREST = 1e-4
"""A verifier's probability is moved this far from 0 and 1, so that its log-odds are finite."""


class MissReason(StrEnum):
    """The reason why a model is asked."""

    OFF = "off"
    UNCALIBRATED = "uncalibrated"
    EMPTY = "empty"
    UNSURE = "unsure"
    UNVERIFIED = "unverified"
    """Its score lies in the grey band, and the verifier of the promise has not spoken."""
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Serve:
    """The cached answer of `entry` is served; where `compared` is its propensity, a model runs too."""

    entry: str
    score: float
    compared: float | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """A model is asked. `entry` and `score` say what was nearest: the model's answer labels it at no cost."""

    reason: MissReason
    entry: str | None = None
    score: float | None = None


CacheDecision = Serve | Miss


def known_answer(job: Job, view: View, now: float, rules: Rules) -> Reply | None:
    """Return the answer to a question like the job's, where the promise of its tenant and task covers that."""
    near = view.near.get((job.tenant, job.id)) if view.near else None
    if near is None:
        return None
    semantic, promise = rules.cache.semantic, view.promises.get((job.tenant, job.task))
    mode = semantic.mode_of(job.tenant, job.task)
    if promise is not None and not semantic.covers(promise):
        return None
    found = decide(near, promise, mode, f"{job.tenant}.{job.id}", semantic.explored)
    entry = view.entries.get((job.tenant, near.entry)) if isinstance(found, Serve) else None
    if not isinstance(found, Serve) or entry is None or not may_answer(entry, job, view, now, rules):
        return None
    told = replace(near, propensity=found.compared)
    return Reply(SEMANTIC, answer_in(entry), Reason.SIMILAR, whose(entry), near=told)


def decide(
    near: Near | None,
    calibration: CacheCalibration | None,
    mode: SemanticMode,
    seed: str,
    explored: float,
) -> CacheDecision:
    """Decide what answers a question of a single turn, by what is `near` it.

    `seed` names the job: a share `explored` of the hits, drawn by its hash, is compared with a model's answer.
    """
    if mode is SemanticMode.OFF:
        return Miss(MissReason.OFF)
    if near is None:
        return Miss(MissReason.EMPTY)
    if calibration is None or not _holds(calibration, near):
        return Miss(MissReason.UNCALIBRATED, near.entry)
    found = score_of(near, calibration)
    if found is None:
        return Miss(MissReason.UNVERIFIED, near.entry)
    if found < calibration.threshold.value:
        return Miss(MissReason.UNSURE, near.entry, found)
    if mode is SemanticMode.SHADOW:
        return Miss(MissReason.SHADOW, near.entry, found)
    return Serve(near.entry, found, explored if _drawn(seed, explored) else None)


def score_of(near: Near, calibration: CacheCalibration) -> float | None:
    """Return the log-odds that the nearest answer is the right one, None where they are grey and nobody has spoken.

    A verifier's probability is added to a grey score as independent evidence of the weight `verified`. A grey score
    without it is a miss, for the promise was tested with it.
    """
    found = score(near.signals, calibration.score)
    if calibration.grey is None or not calibration.grey[0] <= found < calibration.grey[1]:
        return found
    if near.verified is None or near.verifier != calibration.verifier:
        return None
    p = min(max(near.verified, _SUREST), 1.0 - _SUREST)
    return found + calibration.verified * math.log(p / (1.0 - p))


def label_of(near: Near, propensity: float, cached: Answer, answered: Answer) -> Near:
    """Return the label that a model's answer gives; where words cannot tell whether both say the same, they do not."""
    return replace(near, propensity=propensity, same=agree(cached, answered) is True)


def loss_of(label: Near, calibration: CacheCalibration) -> float:
    """Return 1.0 where the answer would be served and is not the same as the model's, else 0.0."""
    is_served = isinstance(decide(label, calibration, SemanticMode.GUARANTEE, "", 0.0), Serve)
    return float(is_served and label.same is False)


def _holds(calibration: CacheCalibration, near: Near) -> bool:
    """Return whether the calibration serves anything, and judges cosines like these."""
    serves = calibration.withdrawn is None and calibration.threshold.value != math.inf
    return serves and calibration.encoder == near.encoder


def _drawn(seed: str, share: float) -> bool:
    """Draw by a hash in place of chance: a step that is repeated draws the same, and every process agrees."""
    return zlib.crc32(f"cache:{seed}".encode()) / 2**32 < share
