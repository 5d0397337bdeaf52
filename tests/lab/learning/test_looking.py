"""What `fleet calibrate` spends of a promise: one share of its delta for each test, and nothing for the same again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from fleet.lab.learning.calibrate import Goal
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import FitOutcome, fit_all, in_force_after
from fleet.lab.learning.looking import PlannedTest
from fleet.model.attempt import Features
from fleet.model.calibration import Calibration, CalibrationKey, Looks, OutputKind, Threshold, ThresholdMode
from fleet.settings.documents import load_rules
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules

KEY = CalibrationKey("llama-8b", "classify.intent", "token")
NOW = 1_795_175_686.0
Force = Mapping[CalibrationKey, Calibration]


@pytest.fixture(scope="module")
def rules() -> Rules:
    local = load_rules(None, None, "local")
    return replace(local, confidence=replace(local.confidence, mode=ThresholdMode.GUARANTEE, risk=0.2))


def labels(count: int, first: int = 0, at: float | None = None) -> Iterator[LabelledAnswer]:
    for number in range(first, first + count):
        random = np.random.default_rng(number)
        odds = random.normal(1.5, 1.2)
        logprob = -math.log1p(math.exp(-odds))
        evidence = Evidence(Features(logprob, logprob, logprob, logprob, logprob, 1, 1.0, 0.1))
        good = bool(random.random() < 1 / (1 + math.exp(-odds)))
        yield LabelledAnswer(
            "llama-8b", "classify.intent", OutputKind.TOKEN, f"q-{number}", evidence, good, True, "llama-70b", at=at
        )


def fitted(found: list[LabelledAnswer], force: Force, rules: Rules, now: float = NOW) -> tuple[FitOutcome, Force]:
    outcomes = fit_all(found, force, rules, now)
    return next(each for each in outcomes if each.key == KEY), in_force_after(force, outcomes)


def test_the_first_test_is_counted(rules: Rules) -> None:
    found, force = fitted([*labels(400)], {}, rules)

    looks = force[KEY].looks
    assert (found.accepted, looks.count, looks.labels, looks.at) == (True, 1, 400, NOW)


def test_run_every_minute_without_new_labels_it_spends_nothing(rules: Rules) -> None:
    _, force = fitted([*labels(400)], {}, rules)
    after = force

    for minute in range(1, 30):
        found, after = fitted([*labels(400)], after, rules, NOW + 60 * minute)

    assert after == force
    assert (found.accepted, found.waits, found.reason) == (
        False, True, "no new labels since the last test of the promise",
    )  # fmt: skip


def test_with_a_few_new_labels_it_waits_for_more_and_says_how_many(rules: Rules) -> None:
    _, force = fitted([*labels(400)], {}, rules)

    found, after = fitted([*labels(440)], force, rules)

    assert (found.reason, found.waits) == ("too few new labels for another test of the promise: 40 of 110", True)
    assert found.limits is not None and found.limits.any_judge < found.limits.promised < 1.0
    assert after == force


def test_a_test_is_counted_also_where_its_outcome_is_not_put_in_force(rules: Rules) -> None:
    _, force = fitted([*labels(800)], {}, rules)
    kept = force[KEY].version
    bad = [replace(each, good=not each.good) for each in labels(600, 800)]

    found, after = fitted([*labels(800), *bad], force, rules)

    assert after[KEY].looks.count == 2
    assert found.accepted or after[KEY].version == kept


def test_where_labels_grow_old_those_that_are_new_count(rules: Rules) -> None:
    _, force = fitted([*labels(400, at=NOW - 9.0)], {}, rules)

    waiting, _ = fitted([*labels(320, 80, at=NOW - 9.0), *labels(80, 400, at=NOW + 9.0)], force, rules)
    _, after = fitted([*labels(200, 200, at=NOW - 9.0), *labels(200, 400, at=NOW + 9.0)], force, rules, NOW + 10.0)

    assert waiting.waits
    assert after[KEY].looks.count == 2


def test_so_few_labels_that_nothing_could_pass_spend_nothing(rules: Rules) -> None:
    strict = replace(rules, confidence=replace(rules.confidence, risk=0.01))

    found, force = fitted([*labels(60)], {}, strict)

    assert found.accepted
    assert force[KEY].looks == Looks()
    assert force[KEY].threshold is not None
    assert force[KEY].threshold.value == math.inf


def test_a_test_that_can_hardly_be_passed_is_counted_where_it_was_passed_all_the_same() -> None:
    goal, before, after = Goal(ThresholdMode.GUARANTEE, look=1), Looks(), Looks(1, 60)
    planned = PlannedTest(goal, after, unless_passed=before)

    found = [planned.looks_after(Threshold(goal.mode, value, math.inf, 0.05, 0.1)) for value in (0.9, math.inf)]

    assert found == [after, before]


def test_a_withdrawn_promise_is_tested_again_and_the_same_labels_are_the_same_test(rules: Rules) -> None:
    _, force = fitted([*labels(400)], {}, rules)
    withdrawn = {**force, KEY: replace(force[KEY], withdrawn="drift")}

    found, after = fitted([*labels(400)], withdrawn, rules, NOW + 60)

    assert found.accepted
    assert after[KEY].looks == force[KEY].looks
    assert after[KEY].threshold == force[KEY].threshold


def test_where_nothing_is_promised_nothing_is_spent(rules: Rules) -> None:
    fixed = replace(rules, confidence=replace(rules.confidence, mode=ThresholdMode.FIXED))

    _, force = fitted([*labels(400)], {}, fixed)

    assert force[KEY].looks == Looks()


NEW, NEWER = "a" * 64, "b" * 64


def of_adapter(digest: str, found: list[LabelledAnswer]) -> list[LabelledAnswer]:
    return [replace(each, adapter=digest) for each in found]


def with_adapter(digest: str) -> CalibrationKey:
    return replace(KEY, adapter=digest)


def test_tests_are_numbered_through_whichever_adapter_they_are_of(rules: Rules) -> None:
    """An adapter's first test would be a first one again, if the key it replaces were forgotten."""
    _, force = fitted([*labels(200)], {}, rules)
    force = in_force_after(force, fit_all(of_adapter(NEW, [*labels(200, 300)]), force, rules, NOW))
    _, force = fitted([*labels(200), *labels(200, 600)], force, rules)
    force = in_force_after(force, fit_all(of_adapter(NEWER, [*labels(200, 900)]), force, rules, NOW))

    assert [force[with_adapter(digest)].looks.count for digest in ("", NEW, NEWER)] == [3, 2, 4]


def test_two_adapters_that_are_tested_at_once_do_not_share_a_number(rules: Rules) -> None:
    found = [*labels(200), *of_adapter(NEW, [*labels(200, 300)]), *of_adapter(NEWER, [*labels(200, 600)])]

    force = in_force_after({}, fit_all(found, {}, rules, NOW))

    assert sorted(each.looks.count for key, each in force.items() if key.family == KEY.family) == [1, 2, 3]


def test_another_adapters_test_does_not_make_the_labels_of_this_one_old(rules: Rules) -> None:
    _, force = fitted([*labels(200)], {}, rules)
    force = in_force_after(force, fit_all(of_adapter(NEW, [*labels(400, 300)]), force, rules, NOW))

    found, after = fitted([*labels(260)], force, rules)

    assert (found.waits, after[KEY].looks.count) == (True, 1)
    assert fitted([*labels(270)], force, rules)[1][KEY].looks.count == 3
