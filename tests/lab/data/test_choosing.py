"""What became of a job's answers, and what was said of them, says what a model may learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from training_examples import LARGE, SMALL, agreed_rules, content, given, said

from fleet.lab.data.choosing import Chooser
from fleet.lab.data.examples import Example, Origin, Unusable
from fleet.model.content import Content
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason

GOOD, BAD, EDITED, BETTER = Verdict
DELIVERED = given(LARGE, reason=Reason.LOW_CONFIDENCE)
WEAK_OTHER, WEAK_SAME = given(SMALL, "Both: payroll"), given(SMALL, "both: laptop.")
COMPARED_OTHER = given(LARGE, "Both: payroll", reason=Reason.SHADOW)
COMPARED_SAME = given(LARGE, "Both: laptop", reason=Reason.SHADOW)
LONG, OPEN = (" ".join(f"{word}{n}" for n in range(20)) for word in ("word", "other"))


def chosen(found: Content, *opinions: Feedback, trust_graders: bool = False) -> Example | Unusable:
    return chooser(opinions, trust_graders).choose(found)


def chooser(opinions: Sequence[Feedback] = (), trust_graders: bool = False) -> Chooser:
    by_job: dict[tuple[str, str], list[Feedback]] = {}
    for each in opinions:
        by_job.setdefault((each.tenant, each.job_id), []).append(each)
    return Chooser(by_job, agreed_rules(), trust_graders=trust_graders)


JUDGE = Witness.JUDGE
CASES = [
    ("bad", content(1), [said(1, BAD)], Origin.BAD, "Both: laptop", None),
    (
        "bad to a grader, though escalated",
        content(1, WEAK_OTHER, DELIVERED),
        [said(1, BAD, JUDGE)],
        Origin.BAD,
        "Both: laptop",
        None,
    ),
    (
        "a best effort that no calibration could judge",
        content(1, WEAK_OTHER, replace(DELIVERED, confidence=0.9), status="best_effort"),
        [],
        Origin.ESCALATED,
        "Both: laptop",
        "Both: payroll",
    ),
    ("good", content(1), [said(1, GOOD)], Origin.GOOD, "Both: laptop", None),
    (
        "good over a weaker one's",
        content(1, WEAK_OTHER, DELIVERED),
        [said(1, GOOD)],
        Origin.GOOD,
        "Both: laptop",
        "Both: payroll",
    ),
    (
        "good, the weaker one said so too",
        content(1, WEAK_SAME, DELIVERED),
        [said(1, GOOD)],
        Origin.GOOD,
        "Both: laptop",
        None,
    ),
    (
        "edited",
        content(1),
        [said(1, EDITED, text="Both: safety", changed=True)],
        Origin.EDITED,
        "Both: safety",
        "Both: laptop",
    ),
    (
        "edited, a comma alone",
        content(1),
        [said(1, EDITED, text="Both, laptop", changed=False)],
        Origin.GOOD,
        "Both: laptop",
        None,
    ),
    ("the last word counts", content(1), [said(1, BAD), said(1, GOOD)], Origin.GOOD, "Both: laptop", None),
    ("escalated", content(1, WEAK_OTHER, DELIVERED), [], Origin.ESCALATED, "Both: laptop", "Both: payroll"),
    (
        "escalated, words cannot tell",
        content(1, given(SMALL, LONG), DELIVERED, text=OPEN),
        [],
        Origin.ESCALATED,
        OPEN,
        None,
    ),
    ("escalated for nothing", content(1, WEAK_SAME, DELIVERED), [], Origin.AGREED, "Both: laptop", None),
    ("compared, the same", content(1, given(SMALL), COMPARED_SAME), [], Origin.AGREED, "Both: laptop", None),
    (
        "compared, another",
        content(1, given(SMALL), COMPARED_OTHER),
        [],
        Origin.COMPARED,
        "Both: payroll",
        "Both: laptop",
    ),
    (
        "a grader agrees with the escalation",
        content(1, WEAK_OTHER, DELIVERED),
        [said(1, GOOD, JUDGE)],
        Origin.ESCALATED,
        "Both: laptop",
        "Both: payroll",
    ),
]


@pytest.mark.parametrize(
    ("found", "opinions", "origin", "answer", "rejected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_worth_learning(
    found: Content, opinions: list[Feedback], origin: Origin, answer: str, rejected: str | None
) -> None:
    example = chosen(found, *opinions)
    assert isinstance(example, Example)
    assert (example.origin, example.answer["content"]) == (origin, answer)
    assert (None if example.rejected is None else example.rejected["content"]) == rejected
    assert example.source.job_id == found.job_id


IMAGE = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
NO_USE = [
    ("nobody said anything", content(1), [], Unusable.NOBODY),
    ("of another target's answer", content(1), [said(1, GOOD, target=LARGE)], Unusable.NOBODY),
    ("a grader alone", content(1), [said(1, GOOD, JUDGE)], Unusable.GRADED),
    ("an edit without text", content(1), [said(1, EDITED)], Unusable.NO_TEXT),
    ("best effort", content(1, status="best_effort"), [said(1, GOOD)], Unusable.NOT_SUCCEEDED),
    (
        "a best effort that was doubted",
        content(1, WEAK_OTHER, replace(DELIVERED, confidence=0.6, threshold=0.7), status="best_effort"),
        [],
        Unusable.NOT_SUCCEEDED,
    ),
    (
        "a best effort of the first target",
        content(1, given(SMALL, confidence=0.9), status="best_effort"),
        [],
        Unusable.NOT_SUCCEEDED,
    ),
    ("no gate lets it through", content(1, given(SMALL, confidence=0.0)), [said(1, GOOD)], Unusable.FAILED_CHECKS),
    ("of an earlier version", content(1, answers=(), status=None), [said(1, GOOD)], Unusable.NO_PROVENANCE),
    ("given before", content(1, target="exact", answers=()), [said(1, GOOD)], Unusable.NO_MODEL),
    ("a task that is collected no more", content(1, task="chat"), [said(1, GOOD)], Unusable.TASK),
    ("an image", content(1, request=IMAGE), [said(1, GOOD)], Unusable.NOT_TEXT),
]


@pytest.mark.parametrize(("found", "opinions", "why"), [c[1:] for c in NO_USE], ids=[c[0] for c in NO_USE])
def test_what_is_of_no_use_says_why(found: Content, opinions: list[Feedback], why: Unusable) -> None:
    assert chosen(found, *opinions) is why


def test_a_grader_counts_as_a_user_for_whoever_says_so() -> None:
    example = chosen(content(1), said(1, GOOD, JUDGE), trust_graders=True)
    assert isinstance(example, Example)
    assert example.origin is Origin.GOOD


@pytest.mark.parametrize("opinions", [[], [said(2, GOOD)]])
def test_the_better_answer_that_was_asked_for_is_preferred_over_the_first_and_both_jobs_are_its_sources(
    opinions: list[Feedback],
) -> None:
    first = content(1)
    again = content(2, given(LARGE), text="Both: safety", request=first.request)
    choosing = chooser([said(1, BETTER), *opinions])
    assert choosing.choose(first) is Unusable.NO_BETTER
    example = choosing.choose(again)
    assert isinstance(example, Example)
    assert (example.origin, example.answer["content"]) == (Origin.BETTER, "Both: safety")
    assert (example.rejected, example.said_good) == (first.message, False)
    assert [each.job_id for each in example.sources] == [again.job_id, first.job_id]


def test_a_better_answer_that_was_called_bad_is_one_to_evaluate_with() -> None:
    choosing = chooser([said(1, BETTER), said(2, BAD)])
    choosing.choose(content(1))
    found = choosing.choose(content(2, given(LARGE), request=content(1).request))
    assert isinstance(found, Example)
    assert (found.origin, found.rejected) == (Origin.BAD, None)


def test_a_job_that_calibrations_learn_from_is_none_and_what_it_asked_is_kept_to_compare() -> None:
    rules = agreed_rules(share=1e-9)
    choosing = Chooser({("acme", "job-000000000001"): [said(1, GOOD)]}, rules)
    assert [choosing.choose(content(number)) for number in (1, 2)] == [Unusable.FOR_CALIBRATION] * 2
    assert [messages[0]["content"][-6:] for messages in choosing.for_calibration] == ["Case 1"]


def test_only_a_calibrated_confidence_is_held_against_an_opinion() -> None:
    for calibration, confidence in (("v1", 0.9), (None, None)):
        example = chosen(content(1, given(SMALL, confidence=0.9, calibration=calibration)), said(1, GOOD))
        assert isinstance(example, Example)
        assert example.confidence == confidence
