"""The semantic cache serves what its promise covers, and says why it serves nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fleet.model.caching import AnswerScore, CacheCalibration, Near, Neighbour, SemanticMode
from fleet.model.calibration import Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from policies.caching.questions import question_of
from policies.caching.semantic import CacheDecision, Miss, MissReason, Serve, decide, score_of
from policies.caching.signals import SIGNALS, check, score, signals_of

BY_COSINE = AnswerScore(0.0, {"cosine": 1.0}, ())
CALIBRATION = CacheCalibration(
    "v1", "acme", "faq", "e", BY_COSINE, Threshold(ThresholdMode.GUARANTEE, 0.8, 0.9, 0.01, 0.1)
)
NEIGHBOUR = Neighbour("e1", "How do I reset my password?", "a1", 0.9)
QUESTION = "How can I reset my password?"
GUARANTEE = SemanticMode.GUARANTEE


def near(cosine: float = 0.9) -> Near:
    return Near("e1", "e", (cosine, *[0.0] * (len(SIGNALS) - 1)))


CLOSE = near()


def decided(found: Near | None = CLOSE, explored: float = 0.0, **changes: Any) -> CacheDecision:
    given = {"calibration": CALIBRATION, "mode": GUARANTEE, "seed": "acme.1"}
    return decide(found, **(given | {"explored": explored} | changes))


def test_a_score_above_the_threshold_is_served_and_one_below_is_not() -> None:
    assert decided() == Serve("e1", 0.9)
    assert decided(near(0.7)) == Miss(MissReason.UNSURE, "e1", 0.7)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": SemanticMode.OFF}, MissReason.OFF),
        ({"mode": SemanticMode.SHADOW}, MissReason.SHADOW),
        ({"calibration": None}, MissReason.UNCALIBRATED),
        ({"calibration": replace(CALIBRATION, withdrawn="drift")}, MissReason.UNCALIBRATED),
        ({"calibration": replace(CALIBRATION, encoder="another")}, MissReason.UNCALIBRATED),
        ({"found": None}, MissReason.EMPTY),
    ],
)
def test_nothing_else_is_served_and_the_reason_is_said(changes: dict[str, Any], reason: MissReason) -> None:
    found = decided(**changes)
    assert isinstance(found, Miss)
    assert found.reason is reason


def test_too_few_labels_serve_nothing() -> None:
    nothing = Threshold(ThresholdMode.GUARANTEE, math.inf, math.inf, 0.01, 0.1, labels_missing=30)
    assert decided(calibration=replace(CALIBRATION, threshold=nothing)) == Miss(MissReason.UNCALIBRATED, "e1")


def test_a_grey_score_is_decided_with_the_verifiers_word() -> None:
    by_word = replace(CALIBRATION, grey=(0.5, 0.95), verifier="8b m@1")

    def with_word(word: float | None, verifier: str | None = "8b m@1") -> CacheDecision:
        return decided(replace(CLOSE, verified=word, verifier=verifier), calibration=by_word)

    assert isinstance(with_word(0.9), Serve)
    refused = with_word(0.1)
    assert isinstance(refused, Miss) and refused.reason is MissReason.UNSURE
    unheard = Miss(MissReason.UNVERIFIED, "e1")
    assert with_word(None) == with_word(0.99, "8b m@2") == with_word(0.99, None) == unheard
    assert isinstance(decided(near(0.97), calibration=by_word), Serve)  # beyond the band nobody is needed
    assert isinstance(decided(replace(CLOSE, verified=0.01, verifier="8b m@1")), Serve)  # not part of this promise


def test_a_word_is_never_taken_as_proof() -> None:
    found = score_of(replace(CLOSE, verified=1.0, verifier="v"), replace(CALIBRATION, grey=(0.0, 1.0), verifier="v"))
    assert found is not None and found < 0.9 + 10


def test_a_share_of_the_hits_is_compared_and_the_same_ones_each_time() -> None:
    seeds = [f"acme.{n}" for n in range(400)]
    drawn = [decided(explored=0.25, seed=seed) for seed in seeds]
    compared = sum(isinstance(each, Serve) and each.compared == 0.25 for each in drawn)
    assert 70 <= compared <= 130
    assert drawn == [decided(explored=0.25, seed=seed) for seed in seeds]


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([{"role": "user", "content": "Hi"}], "Hi"),
        ([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}], "Hi"),
        (
            [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}],
            None,
        ),
        ([{"role": "assistant", "content": "Hi"}], None),
        ([{"role": "user", "content": [{"type": "image_url"}]}], None),
        ([{"role": "user", "content": "  "}], None),
        (["Hi"], None),
        ([], None),
    ],
)
def test_only_a_single_turn_in_text_is_a_question(messages: list[Any], question: str | None) -> None:
    assert question_of(messages) == question


def test_the_signals_are_about_the_answer_and_not_only_about_the_nearest_question() -> None:
    others = [Neighbour("e2", "How do I change my password?", "a2", 0.85), replace(NEIGHBOUR, entry="e3", cosine=0.8)]
    found = dict(zip(SIGNALS, signals_of(QUESTION, [NEIGHBOUR, *others]), strict=True))
    assert (found["cosine"], found["vote"], found["guard"]) == (0.9, 2 / 3, 0.0)
    assert found["margin"] == pytest.approx(0.05)
    assert found["words"] > 0.0


def test_a_veto_outweighs_every_score() -> None:
    by = replace(BY_COSINE, weights={"cosine": 1e6}, vetoes=("guard",))
    assert score(signals_of("How do I reset 2 passwords?", [NEIGHBOUR]), by) == -math.inf


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"weights": {"mood": 1.0}}, "score.weights"),
        ({"vetoes": ("mood",)}, "score.vetoes"),
        ({"intercept": math.nan}, "score.weights"),
    ],
)
def test_a_score_that_could_not_be_applied_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        check(replace(BY_COSINE, **changes))
