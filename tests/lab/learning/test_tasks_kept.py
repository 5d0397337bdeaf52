"""Labels of a few tasks make no task or text unfamiliar that what is in force knows, unless that is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import FitOutcome, fit_all, in_force_after
from fleet.model.attempt import Features
from fleet.model.calibration import (
    NO_LOOKS,
    Calibration,
    CalibrationKey,
    Familiarity,
    Fit,
    OutputKind,
    Scorer,
    ThresholdMode,
)
from fleet.model.job import ChatRequest
from fleet.settings.documents import load_rules
from policies.confidence.familiarity import is_inside, knows_task
from policies.confidence.lookup import calibration_for
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules

SMALL = "llama-8b"
TOKEN, SHORT = OutputKind.TOKEN, OutputKind.SHORT
WIDE = CalibrationKey(SMALL)
INTENT, URGENCY, SMS = "classify.intent", "classify.urgency", "nudge.sms"
NOW = 1_795_175_686.0
Force = Mapping[CalibrationKey, Calibration]


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules(None, None, "local")


def labels(task: str, count: int = 120, kind: OutputKind = TOKEN, *, texts: bool = False) -> Iterator[LabelledAnswer]:
    """Answers of an engine that claims twice the log-odds it has."""
    random = np.random.default_rng(len(task) + count)
    for number in range(count):
        odds = random.normal(0.8, 1.2)
        logprob = -math.log1p(math.exp(-2 * odds))
        evidence = Evidence(Features(logprob, logprob, logprob, logprob, logprob, 1, 1.0, 0.1))
        good = bool(random.random() < 1 / (1 + math.exp(-odds)))
        request = asked(task, number) if texts else None
        yield LabelledAnswer(
            SMALL, task, kind, f"acme.{task}-{number}", evidence, good, True, "llama-70b", request=request
        )


def asked(task: str, number: int) -> ChatRequest:
    """Texts of two tasks have nothing in common."""
    said = {
        INTENT: f"Classify the intent of this: please send me payslip {number}, and {'soon ' * (number % 5)}thank you",
        URGENCY: f"URGENCY? ({number})\n- a: server {number % 7} IS DOWN!\nb: {'no, ' * (number % 4)}it is not\n\nA/B:",
    }[task]
    return {"messages": [{"role": "user", "content": said}]}


def by_key(outcomes: Sequence[FitOutcome]) -> dict[CalibrationKey, FitOutcome]:
    return {outcome.key: outcome for outcome in outcomes}


def of(target_rules: Rules, task: str, force: Force, kind: OutputKind = TOKEN) -> Calibration:
    """What judges an answer to this task."""
    found = calibration_for(target_rules.catalogue.targets[SMALL], task, kind, force)
    assert found is not None
    return found


def unfit(calibration: Calibration) -> Calibration:
    """The same with a scorer that anything fitted is better than."""
    return replace(calibration, scorer=Scorer(Fit.PLATT, ("min_logit",), (3.0,), 4.0))


@pytest.fixture(scope="module")
def three(rules: Rules) -> Force:
    """In force: what labels of three tasks gave."""
    return in_force_after({}, fit_all([*labels(INTENT), *labels(URGENCY), *labels(SMS, kind=SHORT)], {}, rules, NOW))


@pytest.fixture
def wide_alone(three: Force) -> Force:
    return {WIDE: three[WIDE]}


@pytest.mark.parametrize(
    "new",
    [
        [*labels(INTENT)],
        [*labels("chat")],
        [*labels(INTENT), *labels("chat", kind=SHORT)],
        [*labels(INTENT), *labels("classify.tone")],
        [*labels(INTENT), *labels("classify.tone"), *labels("chat", 90), *labels("chat", 90, SHORT)],
        [*labels(INTENT), *labels(URGENCY, 9), *labels(SMS, kind=SHORT)],
    ],
    ids=["one of its tasks", "another task", "one and another", "one and its sister", "several", "too few of one"],
)
@pytest.mark.parametrize("beside", ["all that was fitted", "a bad wide one alone"])
def test_whatever_is_labelled_next_every_task_that_was_known_still_is(
    rules: Rules, three: Force, wide_alone: Force, new: list[LabelledAnswer], beside: str
) -> None:
    """Also where anything fitted is better than what is in force."""
    force = three if beside == "all that was fitted" else {WIDE: unfit(wide_alone[WIDE])}

    after = in_force_after(force, fit_all(new, force, rules, NOW + 1))

    for task in (INTENT, URGENCY, SMS):
        for kind in OutputKind:
            assert knows_task(of(rules, task, after, kind), task)
    assert all(knows_task(of(rules, each.task, after, each.kind), each.task) for each in new)


def test_labels_of_one_task_are_put_in_force_for_that_task_alone_and_the_reason_says_so(
    rules: Rules, wide_alone: Force
) -> None:
    force = {WIDE: unfit(wide_alone[WIDE])}

    outcomes = by_key(fit_all([*labels(INTENT)], force, rules, NOW + 1))

    assert (outcomes[WIDE].accepted, outcomes[WIDE].waits, outcomes[WIDE].lost) == (False, True, (URGENCY, SMS))
    assert outcomes[WIDE].reason == (
        "the one in force stays: it knows classify.urgency, nudge.sms, of which there are not 10 labels here"
    )
    after = in_force_after(force, outcomes.values())
    assert after[WIDE] == force[WIDE]
    assert of(rules, INTENT, after).key == CalibrationKey(SMALL, INTENT, TOKEN)


def test_many_tasks_are_named_in_part_and_counted(rules: Rules, wide_alone: Force) -> None:
    tasks = tuple(f"task{n}" for n in range(9))
    many = {WIDE: replace(wide_alone[WIDE], familiar=Familiarity(tasks))}

    found = by_key(fit_all([*labels(INTENT)], many, rules, NOW + 1))[WIDE]

    assert "it knows task0, task1, task2 and 6 more, of which" in found.reason
    assert found.lost == tasks


def test_one_that_speaks_of_every_task_stays_too(rules: Rules, wide_alone: Force) -> None:
    every = {WIDE: replace(wide_alone[WIDE], familiar=None)}

    found = by_key(fit_all([*labels(INTENT)], every, rules, NOW + 1))[WIDE]

    assert (found.accepted, found.reason) == (False, "the one in force stays: it speaks of every task")


def test_labels_of_all_its_tasks_and_of_one_more_replace_it(rules: Rules, wide_alone: Force) -> None:
    force = {WIDE: unfit(wide_alone[WIDE])}
    new = [*labels(INTENT), *labels(URGENCY), *labels(SMS, kind=SHORT), *labels("chat")]

    found = by_key(fit_all(new, force, rules, NOW + 1))[WIDE]

    assert (found.accepted, found.lost) == (True, ())
    assert found.calibration is not None
    assert found.calibration.familiar == Familiarity(("chat", INTENT, URGENCY, SMS))


def test_asked_to_it_replaces_one_that_knows_more_and_says_what_is_lost(rules: Rules, wide_alone: Force) -> None:
    force = {WIDE: unfit(wide_alone[WIDE])}

    found = by_key(fit_all([*labels(INTENT)], force, rules, NOW + 1, allow_fewer_tasks=True))[WIDE]

    assert (found.accepted, found.lost) == (True, (URGENCY, SMS))
    assert found.calibration is not None
    assert found.calibration.familiar == Familiarity((INTENT,))


def test_one_that_was_withdrawn_is_replaced_by_one_that_knows_fewer_tasks_which_are_named(
    rules: Rules, wide_alone: Force
) -> None:
    """It promises nothing for any of its tasks; that of another key, which still does, stays."""
    other = CalibrationKey("mixtral-8x7b")
    live = replace(unfit(wide_alone[WIDE]), key=other, model=rules.catalogue.targets[other.target].model)
    force = {WIDE: replace(unfit(wide_alone[WIDE]), withdrawn="too many kept answers are wrong"), other: live}
    new = [*labels(INTENT), *labels(URGENCY)]

    outcomes = fit_all([*new, *(replace(each, target=other.target) for each in new)], force, rules, NOW + 1)

    found = by_key(outcomes)
    assert (found[WIDE].accepted, found[WIDE].waits, found[WIDE].lost) == (True, False, (SMS,))
    assert (found[other].accepted, found[other].waits, found[other].lost) == (False, True, (SMS,))
    after = in_force_after(force, outcomes)
    assert (after[WIDE].withdrawn, after[other]) == (None, live)
    assert after[WIDE].familiar == Familiarity((INTENT, URGENCY))


@pytest.mark.parametrize("change", [{"model": "another"}, {"familiar": Familiarity(())}])
def test_one_that_knows_nothing_of_this_model_is_replaced(
    rules: Rules, wide_alone: Force, change: dict[str, object]
) -> None:
    force = {WIDE: replace(wide_alone[WIDE], **change)}  # type: ignore[arg-type]

    found = by_key(fit_all([*labels(INTENT)], force, rules, NOW + 1))[WIDE]

    assert (found.accepted, found.reason, found.lost) == (True, "first", ())


def test_a_task_that_nothing_in_force_knows_needs_not_beat_what_says_nothing_of_it(
    rules: Rules, wide_alone: Force
) -> None:
    """Else a wide scorer that happens to suit the new task would keep it unfamiliar for ever."""
    alone = by_key(fit_all([*labels("chat")], {}, rules, NOW))[CalibrationKey(SMALL, "chat", TOKEN)]
    assert alone.calibration is not None
    force = {WIDE: replace(wide_alone[WIDE], scorer=alone.calibration.scorer)}

    after = in_force_after(force, fit_all([*labels("chat")], force, rules, NOW + 1))

    assert knows_task(of(rules, "chat", after), "chat")


def test_what_is_not_fitted_spends_nothing_of_a_promise(rules: Rules, three: Force) -> None:
    promised = replace(rules, confidence=replace(rules.confidence, mode=ThresholdMode.GUARANTEE, risk=0.4))
    all_tasks = [*labels(INTENT), *labels(URGENCY), *labels(SMS, kind=SHORT)]
    force = in_force_after(three, fit_all(all_tasks, three, promised, NOW + 1))

    after = in_force_after(force, fit_all([*labels(INTENT, 500)], force, promised, NOW + 2))

    assert force[WIDE].looks != NO_LOOKS
    assert after[WIDE] == force[WIDE]


def test_a_task_of_which_no_text_is_known_is_not_shut_out_by_the_texts_of_others(rules: Rules) -> None:
    new = [*labels(INTENT, texts=True), *labels(URGENCY)]

    after = in_force_after({}, fit_all(new, {}, rules, NOW))

    seen = after[WIDE].familiar
    assert seen == Familiarity((INTENT, URGENCY))
    leaf = after[CalibrationKey(SMALL, INTENT, TOKEN)].familiar
    assert leaf is not None and leaf.region is not None


def test_texts_that_were_known_stay_known_where_labels_of_some_tasks_come_without(rules: Rules) -> None:
    before = in_force_after({}, fit_all([*labels(INTENT, texts=True), *labels(URGENCY, texts=True)], {}, rules, NOW))
    force = {each: unfit(found) for each, found in before.items()}

    after = in_force_after(force, fit_all([*labels(INTENT, texts=True), *labels(URGENCY)], force, rules, NOW + 1))

    assert after[WIDE].scorer != force[WIDE].scorer
    seen = after[WIDE].familiar
    assert seen is not None and seen.region is not None
    inside = [is_inside(seen.region, asked(URGENCY, number)) for number in range(200, 300)]
    assert sum(inside) >= 95


def test_a_narrower_one_fitted_without_texts_knows_those_that_the_wider_one_knew(rules: Rules) -> None:
    """A task's own calibration must not take for familiar what the one that judged it until now did not."""
    before = in_force_after({}, fit_all([*labels(INTENT, texts=True), *labels(URGENCY, texts=True)], {}, rules, NOW))
    force = {WIDE: unfit(before[WIDE])}
    leaf = CalibrationKey(SMALL, INTENT, TOKEN)

    after = in_force_after(force, fit_all([*labels(INTENT)], force, rules, NOW + 1))

    known, wide = after[leaf].familiar, force[WIDE].familiar
    assert known is not None and wide is not None
    assert (known.tasks, known.region) == ((INTENT,), wide.region)
