"""The decision of the semantic cache: serve a cached answer, ask a verifier about it, or ask a model.

It decides on single-turn requests only: the last message of a thread is not its question. It serves nothing without a
calibration of this tenant and task whose promise was tested; without one, only the exact cache answers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.model.caching import CacheCalibration, Neighbour, SemanticMode
from policies.caching.signals import score, signals_of

_SUREST = 1e-4
"""A verifier's probability is moved this far from 0 and 1, so that its log-odds are finite."""


class MissReason(StrEnum):
    """The reason why a model is asked."""

    OFF = "off"
    THREAD = "thread"
    UNCALIBRATED = "uncalibrated"
    EMPTY = "empty"
    UNSURE = "unsure"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Serve:
    """The cached answer of `entry` is served; where `compared` is its propensity, a model runs too."""

    entry: str
    score: float
    compared: float | None = None


@dataclass(frozen=True, slots=True)
class Verify:
    """The score of `entry` lies in the grey band: ask the verifier, and decide again with what it says."""

    entry: str
    text: str


@dataclass(frozen=True, slots=True)
class Miss:
    """A model is asked. `entry` and `score` say what was nearest: the model's answer labels it at no cost."""

    reason: MissReason
    entry: str | None = None
    score: float | None = None


CacheDecision = Serve | Verify | Miss


def question_of(messages: Sequence[Any]) -> str | None:
    """Return the question of a single-turn request: its one user message, in text; None where there is any other turn.

    A system prompt may stand before it: it belongs to the task, and so to the key of the cache.
    """
    turns = [message for message in messages if not (isinstance(message, dict) and message.get("role") == "system")]
    if len(turns) != 1 or not isinstance(turns[0], dict) or turns[0].get("role") != "user":
        return None
    content = turns[0].get("content")
    return content if isinstance(content, str) and content.strip() else None


def decide(
    question: str | None,
    neighbours: Sequence[Neighbour],
    calibration: CacheCalibration | None,
    mode: SemanticMode,
    seed: str,
    explore: float,
    same: float | None = None,
) -> CacheDecision:
    """Decide what answers a question.

    `question` is what `question_of` returns. `seed` names the job: a share `explore` of the hits, drawn by its hash, is
    compared with a model's answer. `same` is what the verifier said, if it was asked; a grey score without its word is
    a miss, for the promise was tested with it.
    """
    early = _early(question, neighbours, calibration, mode)
    if early is not None or question is None or calibration is None:
        return early or Miss(MissReason.THREAD)
    nearest, by = neighbours[0], calibration.score
    found = score(signals_of(question, neighbours, by.words, by.entries), by)
    if _is_grey(found, calibration):
        if same is None:
            return Verify(nearest.entry, nearest.text)
        found = verified_score(found, same, calibration)
    if found < calibration.threshold.value:
        return Miss(MissReason.UNSURE, nearest.entry, found)
    if mode is SemanticMode.SHADOW:
        return Miss(MissReason.SHADOW, nearest.entry, found)
    return Serve(nearest.entry, found, explore if _drawn(seed, explore) else None)


def verified_score(found: float, same: float, calibration: CacheCalibration) -> float:
    """Return a grey score with the verifier's probability added, as independent evidence of the weight `verified`."""
    p = min(max(same, _SUREST), 1.0 - _SUREST)
    return found + calibration.verified * math.log(p / (1.0 - p))


def _early(
    question: str | None, neighbours: Sequence[Neighbour], calibration: CacheCalibration | None, mode: SemanticMode
) -> Miss | None:
    """Return the miss that needs no score, or None."""
    if mode is SemanticMode.OFF:
        return Miss(MissReason.OFF)
    if question is None:
        return Miss(MissReason.THREAD)
    if calibration is None or calibration.threshold.value == math.inf:
        return Miss(MissReason.UNCALIBRATED, neighbours[0].entry if neighbours else None)
    return None if neighbours else Miss(MissReason.EMPTY)


def _is_grey(found: float, calibration: CacheCalibration) -> bool:
    return calibration.grey is not None and calibration.grey[0] <= found < calibration.grey[1]


def _drawn(seed: str, share: float) -> bool:
    """Draw by a hash in place of chance: a step that is repeated draws the same, and every process agrees."""
    return zlib.crc32(f"cache:{seed}".encode()) / 2**32 < share
