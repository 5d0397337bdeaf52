"""The ledger and the feedback come together as labels, and what makes none is counted with its reason."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fleet.lab.learning.collected import CollectedLabels, LabelledAnswer, Unused, collect, is_good, resolved
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Judged, Usage
from fleet.model.calibration import OutputKind, Probe
from fleet.model.diet import Diet
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from policies.confidence.signals import Evidence
from policies.training import TrainingRules
from queues.jetstream.stores.journal import MemoryJournal
from queues.memory import MemoryBroker, MemoryDesk, MemoryQueue
from queues.wire.letters import Message

JOB = "job-0123456789ab"
SMALL, LARGE = "llama-8b", "llama-70b"
GOOD, BAD, EDITED, BETTER = Verdict


def features(first: float = -1.5) -> Features:
    return Features(first, -0.5, -1.0, -0.9, -0.6, 3, 2.0, 0.25)


def attempt(number: int, target: str = SMALL, reason: Reason = Reason.ROUTED, **changes: Any) -> Attempt:
    answer = Answer({}, "stop", Usage(5, 3), f"model-of-{target}", features(-float(number)))
    judged = Judged(0.5, OutputKind.SHORT)
    return replace(Attempt(number, target, reason, 1.0, 2.0, answer, 0.7, judged=judged), **changes)


def entry(tried: Attempt | None, tenant: str = "acme", job_id: str = JOB) -> LedgerEntry:
    return LedgerEntry(job_id, tenant, Lane.STANDARD, 3.0, Reason.CONFIDENT, "chat", "paid", Status.SUCCEEDED, tried)


def said(verdict: Verdict = GOOD, source: Witness = Witness.USER, **changes: Any) -> Feedback:
    count = next(_COUNT)
    text = "edited" if verdict is EDITED else None
    feedback = Feedback(JOB, "acme", verdict, 0.0, source, text=text, id=f"feedback-{count:08d}")
    return replace(feedback, **changes)


_COUNT = iter(range(10**8))


def compared(good: bool, target: str = SMALL, propensity: float = 0.02) -> Feedback:
    return said(GOOD if good else BAD, Witness.SHADOW, target=target, propensity=propensity)


async def collected(*records: LedgerEntry | Feedback) -> CollectedLabels:
    """What a journal holds after these were recorded in this order."""
    broker = MemoryBroker()
    for record in records:
        if isinstance(record, Feedback) and record.source is not Witness.SHADOW:
            await MemoryDesk(broker, record.tenant).give_feedback(record)
        else:
            await MemoryQueue(broker).publish([record])
    return await collect(MemoryJournal(broker))


async def only_label(*records: LedgerEntry | Feedback) -> LabelledAnswer:
    found = await collected(*records)
    assert not found.unused
    [label] = found.labels
    return label


async def test_a_users_word_labels_the_answer_that_was_delivered() -> None:
    label = await only_label(entry(attempt(1)), said(GOOD))

    assert label == LabelledAnswer(SMALL, "chat", OutputKind.SHORT, f"acme.{JOB}", Evidence(features(-1.0)), good=True)


async def test_an_answer_that_had_to_be_short_makes_no_label_of_others() -> None:
    short = entry(attempt(1, diet=Diet(answer_tokens=64)))
    assert (await collected(short, said(GOOD))).unused == {Unused.SHORT: 1}
    assert (await only_label(entry(attempt(1, diet=Diet(answer_tokens=64, shadow=True))), said(GOOD))).good


async def test_a_label_is_of_the_adapter_that_the_answer_was_given_with() -> None:
    assert (await only_label(entry(attempt(1, adapter="ab" * 32)), said(GOOD))).adapter == "ab" * 32


async def test_answers_with_an_adapter_and_without_do_not_take_each_other_for_another_model() -> None:
    own = attempt(1, adapter="ab" * 32)
    adapted = replace(own, outcome=replace(own.outcome, model="model-of-llama-8b+abababababab"))
    others = [
        entry(replace(adapted, number=2), job_id="job-1123456789ab"),
        entry(attempt(1), job_id="job-2123456789ab"),
    ]
    label = await only_label(entry(attempt(1)), *others, said(GOOD))

    assert (label.adapter, label.good) == ("", True)


@pytest.mark.parametrize(
    ("verdict", "changed", "good"),
    [
        (GOOD, None, True),
        (BAD, None, False),
        (BETTER, None, False),
        (EDITED, True, False),
        (EDITED, None, False),
        (EDITED, False, True),
    ],
)
def test_what_a_verdict_says_of_an_answer(verdict: Verdict, changed: bool | None, good: bool) -> None:
    assert is_good(said(verdict, changed=changed)) is good


async def test_the_last_word_of_a_witness_counts() -> None:
    label = await only_label(entry(attempt(1)), said(GOOD), said(EDITED, changed=True), said(GOOD), said(BAD))

    assert label.good is False


async def test_who_used_the_answer_goes_before_who_graded_it() -> None:
    assert (await only_label(entry(attempt(1)), said(GOOD), said(BAD, Witness.JUDGE))).good is True
    assert (await only_label(entry(attempt(1)), said(BAD, Witness.JUDGE))).good is False


async def test_without_a_target_the_last_answer_is_meant_and_neither_probes_nor_comparisons_are_answers() -> None:
    label = await only_label(
        entry(attempt(1)),
        entry(attempt(2, LARGE, Reason.LOW_CONFIDENCE)),
        entry(attempt(3, SMALL, Reason.GREY_BAND, probe=Probe.P_TRUE)),
        entry(attempt(4, "gpt-4o", Reason.SHADOW)),
        said(GOOD),
    )

    assert (label.target, label.evidence) == (LARGE, Evidence(features(-2.0)))


async def test_feedback_that_names_a_target_is_about_its_answer() -> None:
    label = await only_label(
        entry(attempt(1)), entry(attempt(2, LARGE, Reason.LOW_CONFIDENCE)), said(BAD, target=SMALL)
    )

    assert (label.target, label.good, label.evidence) == (SMALL, False, Evidence(features(-1.0)))


@pytest.mark.parametrize("good", [True, False])
async def test_a_comparison_behind_a_kept_answer_labels_it_against_the_stronger_target(good: bool) -> None:
    shadow = entry(attempt(2, LARGE, Reason.SHADOW))

    label = await only_label(entry(attempt(1)), shadow, compared(good, propensity=0.02))

    assert (label.target, label.good, label.strong_good, label.strong) == (SMALL, good, True, LARGE)
    assert label.propensity == 0.02


async def test_a_comparison_of_a_discarded_answer_is_against_the_delivered_one() -> None:
    found = await collected(
        entry(attempt(1)), entry(attempt(2, LARGE, Reason.LOW_CONFIDENCE)), compared(False), said(GOOD)
    )

    labels = {label.target: (label.good, label.strong_good, label.strong) for label in found.labels}
    assert labels == {SMALL: (False, True, LARGE), LARGE: (True, None, None)}


async def test_each_comparison_is_against_the_answer_it_was_made_with() -> None:
    found = await collected(
        entry(attempt(1)),
        entry(attempt(2, "mixtral-8x7b", Reason.LOW_CONFIDENCE)),
        entry(attempt(3, LARGE, Reason.SHADOW)),
        compared(False),
        compared(True, "mixtral-8x7b"),
    )

    assert {label.target: label.strong for label in found.labels} == {SMALL: "mixtral-8x7b", "mixtral-8x7b": LARGE}


UNKNOWN = None


@pytest.mark.parametrize(
    ("direct", "agrees", "strong_direct", "expected"),
    [
        (True, None, None, (True, None)),
        (False, None, None, (False, None)),
        (True, True, None, (True, True)),
        (False, True, None, (False, False)),
        (False, False, None, (False, None)),
        (True, False, None, (True, None)),
        (False, False, True, (False, True)),
        (True, None, False, (True, False)),
        (None, True, None, (True, True)),
        (None, False, None, (False, True)),
        (None, True, True, (True, True)),
        (None, True, False, (False, False)),
        (None, False, True, (False, True)),
        (None, False, False, UNKNOWN),
    ],
)
def test_what_words_and_comparisons_say_together(
    direct: bool | None, agrees: bool | None, strong_direct: bool | None, expected: tuple[bool, bool | None] | None
) -> None:
    assert resolved(direct, agrees, strong_direct) == expected


FAILED = Failure(FailureKind.TIMEOUT, "late")


def with_features(found: Features | None) -> Answer:
    return Answer({}, "stop", Usage(5, 3), f"model-of-{SMALL}", found)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([said()], Unused.NO_LEDGER_ENTRY),
        ([entry(None), said()], Unused.NO_LEDGER_ENTRY),
        ([entry(attempt(1, outcome=FAILED)), said()], Unused.NO_LEDGER_ENTRY),
        ([entry(attempt(1), tenant="globex"), said()], Unused.NO_LEDGER_ENTRY),
        ([entry(attempt(1)), said(target="gpt-4o")], Unused.NO_SUCH_ANSWER),
        ([entry(attempt(1, outcome=with_features(None))), said()], Unused.NO_FEATURES),
        ([entry(attempt(1, outcome=with_features(features(math.nan)))), said()], Unused.NO_FEATURES),
        ([entry(attempt(1, judged=None)), said()], Unused.NO_FEATURES),
        (
            [entry(attempt(1)), entry(attempt(2, LARGE)), said(BAD, target=LARGE), compared(False)],
            Unused.UNDECIDED,
        ),
    ],
)
async def test_what_makes_no_label_is_counted_with_its_reason(
    records: list[LedgerEntry | Feedback], reason: Unused
) -> None:
    assert (await collected(*records)).unused == {reason: 1}


async def test_answers_of_a_model_the_target_no_longer_runs_are_not_labels() -> None:
    newer = replace(with_features(features()), model="another-model")

    found = await collected(
        entry(attempt(1)), entry(attempt(1, outcome=newer), job_id="job-of-somebody-else"), said(GOOD)
    )

    assert (found.labels, found.unused) == ((), {Unused.OTHER_MODEL: 1})


async def test_what_could_not_be_read_is_counted() -> None:
    broker = MemoryBroker()
    await MemoryDesk(broker, "acme").give_feedback(said())
    journal = MemoryJournal(broker)
    assert (await collect(journal)).unreadable == 0

    broker.store(Message("feedback.acme", b"good"))
    assert (await collect(journal)).unreadable == 1


async def test_no_label_is_of_a_job_that_models_are_trained_on() -> None:
    jobs = [f"job-{number:012d}" for number in range(40)]
    records: list[LedgerEntry | Feedback] = [entry(attempt(1), job_id=job) for job in jobs]
    found = await collected(*records, *(said(job_id=job) for job in jobs))
    rules = TrainingRules(frozenset({"acme"}))
    left = found.for_calibration(rules)
    kept = {job for job in jobs if not rules.has("acme", job)}
    assert {each.job for each in left.labels} == {f"acme.{job}" for job in kept}
    assert 0 < len(kept) < 40
    assert left.unused == {Unused.FOR_TRAINING: 40 - len(kept)}
    assert found.for_calibration(TrainingRules(frozenset({"globex"}))).labels == found.labels
