"""What fell through, which changes are proposed, and what is said where the data cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.weekly import measure
from fleet.lab.weekly.answers import OneAnswer, WeekOfAnswers
from fleet.lab.weekly.changes import Change, Kind, Verdict, changes
from fleet.lab.weekly.fell import fell_through, servable


def answers(count: int, good: float, kept: float, judged: float = 1.0, seed: int = 1) -> Iterator[OneAnswer]:
    """Answers of which the more confident share is kept; all are as often good, and the strong answer always is."""
    rng = np.random.default_rng(seed)
    for confidence in rng.random(count):
        stays = bool(confidence >= 1.0 - kept)
        found = OneAnswer(
            confidence=float(confidence),
            kept=stays,
            reason="" if stays else "low_confidence",
            doubted=not stays,
            own_usd=1.0,
            above_usd=0.0 if stays else 10.0,
            next_usd=10.0 if stays else 0.0,
        )
        if rng.random() < judged:
            found = replace(found, good=bool(rng.random() < good), strong_good=True, propensity=judged)
        yield found


def week(count: int, good: float, kept: float, judged: float = 1.0, risk: float = 0.05) -> WeekOfAnswers:
    return WeekOfAnswers.of("small", "classify.intent", risk, answers(count, good, kept, judged))


def of_kind(kind: Kind, seen: WeekOfAnswers) -> Change | None:
    return next((each for each in changes([seen]) if each.kind is kind), None)


def test_answers_that_are_good_and_not_kept_are_a_proposal() -> None:
    found = of_kind(Kind.THRESHOLD, week(3000, good=0.99, kept=0.4))
    assert found is not None and found.verdict is Verdict.PROPOSED
    assert found.threshold is not None and found.threshold < 0.1
    assert found.saved_usd.low > 0.8 * 0.6 * 3000 * 10
    assert found.lost <= 0.05


def test_a_lower_threshold_goes_no_further_than_its_promise() -> None:
    rng = np.random.default_rng(3)
    rows = [
        replace(each, good=bool(rng.random() < (0.99 if each.confidence > 0.3 else 0.5)))
        for each in answers(4000, 0.9, 0.4)
    ]
    found = of_kind(Kind.THRESHOLD, WeekOfAnswers.of("small", "t", 0.05, rows))
    assert found is not None and found.verdict is Verdict.PROPOSED
    assert found.threshold is not None and 0.2 < found.threshold < 0.45


def test_answers_that_are_bad_are_no_proposal() -> None:
    found = of_kind(Kind.THRESHOLD, week(3000, good=0.6, kept=0.4))
    assert found is not None and (found.verdict, found.threshold) == (Verdict.BREAKS_PROMISE, None)


def test_too_few_judged_answers_say_nothing() -> None:
    seen = week(3000, good=0.99, kept=0.4, judged=0.01)
    found = of_kind(Kind.THRESHOLD, seen)
    assert found is not None and found.verdict is Verdict.LABELS_MISSING and found.labels_missing > 50
    told = servable(seen)
    assert (told.share is None and told.labels_missing == found.labels_missing) or told.labels_missing > 50


def test_a_target_that_keeps_next_to_nothing_is_left_out() -> None:
    found = of_kind(Kind.TABLE, week(3000, good=0.2, kept=0.05))
    assert found is not None and found.verdict is Verdict.PROPOSED
    truth = 3000 * (1.0 - 0.05 * 10)
    assert found.saved_usd.low < truth < found.saved_usd.high
    assert of_kind(Kind.TABLE, week(3000, good=0.9, kept=0.6)) is None  # there is no money in it


def test_where_two_versions_answered_nothing_is_proposed_for_their_target() -> None:
    of_base = week(3000, good=0.99, kept=0.4)
    of_adapter = WeekOfAnswers.of("small", "classify.intent", 0.05, answers(500, 0.99, 0.4), version="ab" * 32)
    found = [each for each in changes([of_base, of_adapter]) if each.kind is Kind.THRESHOLD]
    assert Verdict.SEVERAL in {each.verdict for each in found} <= {Verdict.SEVERAL, Verdict.LABELS_MISSING}
    assert {each.version for each in found} == {"", "ab" * 32}


def test_what_fell_through_is_counted_by_reason_and_money() -> None:
    rows = [
        *answers(1000, 0.7, 0.5),
        replace(next(answers(1, 1, 0)), reason="unfamiliar", doubted=False, above_usd=1e6),
    ]
    seen = WeekOfAnswers.of("small", "t", 0.05, rows)
    first, second = fell_through(seen)
    assert (first.reason, first.jobs, first.usd) == ("unfamiliar", 1, 1e6)
    assert (second.reason, second.usd) == ("low_confidence", 10.0 * second.jobs)
    told = servable(seen)
    assert told.jobs == told.judged == second.jobs
    assert told.share is not None and told.share.low < 0.7 < told.share.high


def test_older_answers_judge_what_is_kept_and_count_nowhere_else() -> None:
    older = list(answers(500, 0.9, 0.5, seed=9))
    seen = WeekOfAnswers.of("small", "t", 0.05, answers(200, 0.9, 0.5), older)
    assert len(seen) == 200
    assert len(seen.stayed) == seen.kept.sum() + sum(each.kept for each in older)
    assert len(seen.went_on) == seen.doubted.sum()


def test_rare_labels_are_clipped_and_that_is_said() -> None:
    rows = [
        replace(each, propensity=0.01 if number < 20 else 1.0) for number, each in enumerate(answers(500, 0.7, 0.0))
    ]
    told = servable(WeekOfAnswers.of("small", "t", 0.05, rows))
    assert told.clipped == pytest.approx(1.0 - (20 * 20 + 480) / (20 * 100 + 480))
    assert told.effective < 500


def test_over_simulated_weeks_intervals_hold_and_no_proposal_harms() -> None:
    found = measure(weeks=6, jobs=4000, margin=0.4)
    assert found["coverage_saved"] >= 0.95 and found["coverage_servable"] >= 0.85
    assert found["proposals"] >= 5 and found["harmful"] <= 0.05
    assert found["found"] >= 0.4
