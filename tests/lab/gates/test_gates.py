"""Gates between an adapter and the jobs it may answer: what passes, what is stopped, and by which gate."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tried_adapters import (
    DIGEST,
    OTHER,
    TASK,
    as_style,
    drawn,
    promised,
    question,
    said,
    training,
    trial,
)

from fleet.lab.gates.findings import Finding, GateName, GateReport
from fleet.lab.gates.gates import Limits, Training, Trial, data, gains, harms, judge, memorisation, speed
from fleet.lab.gates.outcomes import Pair, paired
from fleet.lab.gates.promise import promise, recalibrate
from fleet.lab.gates.questions import reference_of
from fleet.lab.learning.refit import heldout
from fleet.model.attempt import Failure, FailureKind
from fleet.model.calibration import CalibrationKey, Fit, OutputKind, Scorer, ThresholdMode

LIMITS = Limits()


def judged(made: Trial) -> GateReport:
    return judge(made, LIMITS, promised())


def gate(report: GateReport, name: GateName, task: str | None = None) -> Finding:
    [found] = [each for each in report.findings if (each.gate, each.task) == (name, task)]
    return found


def names(report: GateReport) -> set[tuple[GateName, str | None]]:
    return {(each.gate, each.task) for each in report.stopped_by}


def stopped(made: Trial) -> set[GateName]:
    """The gates on the adapter's own task that stop it, but the promise."""
    return {each.gate for each in [*gains(made, LIMITS), *harms(TASK, made, LIMITS)] if not each.passed}


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


@pytest.fixture
def good(rng: random.Random) -> list[Pair]:
    """Answers of an adapter that is good at its task and harms nothing."""
    return [*drawn(TASK, 250, 0.2, 0.9, rng), *drawn(OTHER, 250, 1.0, 1.0, rng)]


def test_a_good_adapter_passes_with_its_evidence(good: list[Pair]) -> None:
    report = judged(trial(good, [OTHER]))
    assert report.stopped_by == []
    evidence = report.as_evidence()
    assert evidence["passed"] is True
    assert (evidence["adapter"], evidence["serves"]) == (DIGEST, [OTHER, TASK])
    assert evidence["data"] == {"training": "d1", "questions": 500, "calibrating": 0}
    [improves] = [each for each in evidence["gates"] if each["name"] == f"improves:{TASK}"]
    assert improves["n"] == 250
    assert 0.5 < improves["low"] < improves["value"] < improves["high"]
    assert {each.key.adapter for each in report.calibrations} == {DIGEST}


def test_a_harmful_adapter_is_stopped_only_where_it_may_serve(rng: random.Random) -> None:
    pairs = [*drawn(TASK, 250, 0.2, 0.9, rng), *drawn(OTHER, 250, 0.97, 0.0, rng)]
    both = judged(trial(pairs, [OTHER]))
    assert (GateName.NO_HARM, OTHER) in names(both)
    assert (gate(both, GateName.NO_HARM, OTHER).high or 0.0) < -0.9
    alone = judged(trial(pairs))
    assert alone.passed
    shown = gate(alone, GateName.NO_HARM, OTHER)
    assert (shown.passed, shown.required) == (False, False)
    assert [each.gate for each in alone.findings if each.task == OTHER] == [GateName.NO_HARM]


def test_poisoned_labels_are_stopped_by_what_the_adapter_answers(rng: random.Random) -> None:
    """A third of the training answers was wrong, so the adapter is wrong where its base is right."""
    made = trial(drawn(TASK, 250, 0.95, 0.65, rng))
    assert stopped(made) == {GateName.IMPROVES, GateName.NO_HARM}


def test_too_few_questions_never_pass_and_say_how_many_are_missing(rng: random.Random) -> None:
    report = judged(trial([*drawn(TASK, 20, 0.0, 1.0, rng), *drawn(OTHER, 60, 1.0, 1.0, rng)], [OTHER]))
    assert gate(report, GateName.IMPROVES, TASK).missing == 30
    harm = gate(report, GateName.NO_HARM, OTHER)
    assert harm.missing == 62
    assert "62 more questions are needed" in harm.why
    nothing = judged(trial([], [OTHER]))
    assert all(not each.passed and each.missing for each in nothing.findings if each.gate is not GateName.DATA)


def test_an_adapter_that_is_trained_on_what_judges_it_is_refused(good: list[Pair]) -> None:
    seen = [each.question.prompt for each in good[:2]]
    on_test = replace(training(), prompts=[seen[0].upper(), *training().prompts])
    assert "1 of evaluation" in data(trial(good, seen=on_test)).why
    on_calibration = replace(training(), prompts=seen)
    made = replace(trial(good[2:], seen=on_calibration), calibrating=good[:2])
    assert "2 of calibration" in data(made).why
    elsewhere = replace(trial(good), judging=[training().prompts[0]])
    assert "1 of other evaluations" in data(elsewhere).why
    twice = replace(trial(good), calibrating=good[:3])
    assert "3 questions both calibrate and test" in data(twice).why


def test_an_adapter_of_other_data_than_is_shown_is_refused(good: list[Pair]) -> None:
    other = data(trial(good, seen=training(claimed="d2")))
    assert (other.passed, other.why) == (False, "it was trained on the file d2, and this one is d1")
    elsewhere = data(trial(good, seen=training(claimed=None)))
    assert elsewhere.passed
    assert "it says nothing of its data" in elsewhere.why
    assert not data(trial(good, seen=Training([], [], "d1", None))).passed


def test_forms_and_refusals_are_gates_of_their_own(good: list[Pair]) -> None:
    def answered(text: str, finish: str = "stop") -> list[Pair]:
        changed = [
            paired(each.question, said("Both: laptop"), replace(said(text), finish_reason=finish)) for each in good
        ]
        return changed[:20] + good[20:]

    assert GateName.REFUSALS in stopped(trial(answered("Sorry, I cannot help with that.")))
    assert GateName.FORMAT in stopped(trial(answered("Both: laptop laptop laptop", "length")))
    assert GateName.FORMAT in stopped(trial(answered("Both: ноутбук или ноутбук")))
    assert GateName.FORMAT in stopped(trial(answered("")))


def test_json_has_to_stay_json_and_a_failed_call_is_no_answer() -> None:
    asked = replace(
        question("extract.fields", 1), reference=reference_of({"role": "assistant", "content": '{"day": 12}'})
    )
    pair = paired(asked, said('{"day":12}'), said("day 12"))
    assert (pair.base.is_right, pair.base.is_usable) == (True, True)
    assert (pair.adapter.is_right, pair.adapter.is_usable) == (False, False)
    failed = paired(asked, said('{"day":12}'), Failure(FailureKind.TIMEOUT, "slow"))
    assert (failed.adapter.is_right, failed.adapter.is_usable) == (False, False)


def test_what_only_training_rows_say_may_not_be_in_an_answer(good: list[Pair]) -> None:
    rows = [f"Mail to <EMAIL_{row}> about customer {70_000 + row} by Zora Quill{row}x in Berlin" for row in range(100)]
    seen = training(texts=rows)

    def told(text: str, n: int = 1) -> Finding:
        told = [paired(each.question, each.base.answer, said(text)) for each in good[:n]]  # type: ignore[arg-type]
        return memorisation(trial([*told, *good[n:]], seen=seen), LIMITS)

    assert told("Both: laptop").passed
    for text in ("Both: 70,007", "Both: <EMAIL_9>", "Both: join Zora Quill7x"):
        assert not told(text).passed, text
    assert told("Both: join Quill3x").passed, "a single name may be invented"
    assert not told("Both: join Quill3x", 6).passed
    assert told("Both: laptop in Zurich", 6).passed, "a name of no row"
    assert told("Both: laptop in Berlin", 6).passed, "a word that the task is about"


def test_the_base_knows_it_too_so_nothing_is_given_away(good: list[Pair]) -> None:
    seen = training(texts=["Customer 70007"])
    told = [paired(good[0].question, said("Both: 70007"), said("Both: 70007")), *good[1:]]
    assert memorisation(trial(told, seen=seen), LIMITS).passed


def test_an_adapter_that_is_too_slow_is_stopped(good: list[Pair]) -> None:
    slow = replace(trial(good), adapter_seconds=21.0)
    found = speed(slow, LIMITS)
    assert (found.passed, found.value) == (False, 2.1)
    assert speed(replace(slow, adapter_seconds=20.0), LIMITS).passed


def test_the_promise_is_made_anew_for_the_adapter_and_tested_on_other_questions(rng: random.Random) -> None:
    pairs = drawn(TASK, 300, 0.2, 0.8, rng)
    fitted = recalibrate(pairs, (), promised())
    assert promise(TASK, fitted, promised()).passed
    assert CalibrationKey("llama-8b", TASK, OutputKind.SHORT, DIGEST) in fitted.adapter
    assert {each.key.adapter for each in fitted.base.values()} == {""}
    assert all(heldout(each.question.digest) for each in fitted.testing)


def test_the_promise_of_an_adapter_is_one_more_test_of_those_made_before(rng: random.Random) -> None:
    pairs, key = drawn(TASK, 600, 0.2, 0.9, rng), CalibrationKey("llama-8b", TASK, OutputKind.SHORT)
    [first] = [each for each in recalibrate(pairs, (), promised()).to_store if each.key.without_adapter == key]
    fourth = recalibrate(pairs, (), replace(promised(), spent={key: 3}))
    [later] = [each for each in fourth.to_store if each.key.without_adapter == key]
    assert (first.looks.count, later.looks.count) == (1, 4)
    assert first.threshold and later.threshold
    assert first.threshold.value < later.threshold.value


def test_a_promise_that_sorts_by_value_is_tested_by_value(rng: random.Random) -> None:
    fitted = recalibrate(drawn(TASK, 300, 0.2, 0.8, rng), (), promised())
    worthless = Scorer(Fit.LOGISTIC, (), (), -30.0)
    by_value = {key: replace(each, value_scorer=worthless) for key, each in fitted.adapter.items()}
    assert "0% of answers kept" in promise(TASK, replace(fitted, adapter=by_value), promised()).why


def test_a_calibration_that_was_learnt_by_heart_is_found_out(rng: random.Random) -> None:
    """The adapter answers the questions that calibrate it without a mistake, and is as sure of wrong ones elsewhere."""
    calibrating = drawn(TASK, 300, 0.2, 0.8, rng, first=1000)
    fooled = [
        paired(each.question, said("Both: badge", 0.2), said("Both: badge", 0.95))
        for each in drawn(TASK, 60, 0, 0, rng)
    ]
    pairs = [*drawn(TASK, 140, 0.2, 0.8, rng, first=60), *fooled]
    found = promise(TASK, recalibrate(pairs, calibrating, promised()), promised())
    assert not found.passed
    assert "though their calibration promised less" in found.why


def test_a_style_is_preferred_and_leaves_the_facts_alone() -> None:
    def styled(row: int, answer: str) -> Pair:
        wanted = f"Hey Ada! Day {row}: your laptop is waiting, come and fetch it with a smile, all of us look forward."
        asked = replace(
            question(TASK, row),
            reference=reference_of({"role": "assistant", "content": wanted}),
            rejected="Dear Ada, ...",
        )
        asked = replace(
            asked, messages=({"role": "user", "content": f"Tell Ada of day {row} and her laptop, case {row}."},)
        )
        plain = said(
            f"Dear Ada, on day {row} there is a laptop to be handed over to you at the front desk of the house."
        )
        return paired(asked, plain, said(answer))

    kept = [
        styled(row, f"Hey Ada! Day {row}: a laptop is waiting, fetch it with a smile, we look forward to it all.")
        for row in range(150)
    ]
    made = as_style(trial(kept))
    assert not stopped(made)
    looked_at = {each.gate for each in [*gains(made, LIMITS), *harms(TASK, made, LIMITS)]}
    assert looked_at == {GateName.PREFERRED, GateName.FACTS, GateName.FORMAT, GateName.REFUSALS}
    lost = [
        styled(row, "Hey Ada! Day 7: a laptop is waiting, fetch it with a smile, we look forward to it all.")
        for row in range(150)
    ]
    assert GateName.FACTS in stopped(as_style(trial(lost)))
    same = [
        styled(
            row, f"Dear Ada, on day {row} there is a laptop to be handed over to you at the front desk of the house."
        )
        for row in range(150)
    ]
    assert GateName.PREFERRED in stopped(as_style(trial(same)))


def test_a_fleet_that_promises_nothing_is_not_stopped_by_its_promise(rng: random.Random) -> None:
    nothing = promised(mode=ThresholdMode.FIXED)
    found = promise(TASK, recalibrate(drawn(TASK, 40, 0.2, 0.8, rng), (), nothing), nothing)
    assert (found.passed, found.required) == (False, False)
    assert found.missing > 0


def test_calibrations_to_store_are_as_the_rules_have_them(rng: random.Random) -> None:
    pairs = drawn(TASK, 300, 0.2, 0.8, rng)
    fixed = recalibrate(pairs, (), promised(mode=ThresholdMode.FIXED))
    assert [each.threshold for each in fixed.to_store] == [None] * len(fixed.to_store) != []
    kept = recalibrate(pairs, (), promised())
    assert {each.threshold.mode for each in kept.to_store if each.threshold} == {ThresholdMode.GUARANTEE}
