"""Labels are fitted key by key, wider keys lend to narrower ones, and only what is better is put in force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fit import fit
from fleet.lab.learning.fitting import (
    FitOutcome,
    fit_all,
    goal_of,
    grouped,
    in_force_after,
    strong_of,
    version_of,
)
from fleet.lab.learning.labels import weighted
from fleet.lab.learning.refit import heldout
from fleet.model.attempt import Features
from fleet.model.calibration import ANY, Calibration, CalibrationKey, Fit, OutputKind, Scorer, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules
from queues.wire.calibration import decode_document, encode_document

SMALL, LARGE = "llama-8b", "llama-70b"
TOKEN, SHORT = OutputKind.TOKEN, OutputKind.SHORT
NOW = 1_795_175_686.0


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules(None, None, "local")


def in_mode(rules: Rules, mode: ThresholdMode) -> Rules:
    return replace(rules, confidence=replace(rules.confidence, mode=mode))


def one(number: int, task: str = "classify.intent", kind: OutputKind = TOKEN, **changes: object) -> LabelledAnswer:
    """A label that says nothing in particular."""
    evidence = Evidence(Features(-0.2, -0.2, -0.2, -0.2, -0.2, 1, 1.0, 0.1))
    label = LabelledAnswer(SMALL, task, kind, f"acme.job-{number}", evidence, good=True)
    return replace(label, **changes)  # type: ignore[arg-type]


def overconfident(count: int, task: str = "classify.intent", kind: OutputKind = TOKEN) -> Iterator[LabelledAnswer]:
    """Answers whose engine claims twice the log-odds that they have."""
    random = np.random.default_rng(len(task) + count)
    for number in range(count):
        odds = random.normal(0.8, 1.2)
        good = bool(random.random() < 1 / (1 + math.exp(-odds)))
        logprob = -math.log1p(math.exp(-2 * odds))
        evidence = Evidence(Features(logprob, logprob, logprob, logprob, logprob, 1, 1.0, 0.1))
        strong_good = bool(random.random() < 0.95)
        yield LabelledAnswer(SMALL, task, kind, f"acme.{task}-{number}", evidence, good, strong_good, LARGE)


def key(family: str = ANY, kind: str = ANY) -> CalibrationKey:
    return CalibrationKey(SMALL, family, kind)


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        ([("classify.intent", TOKEN)], {key(), key("classify.intent", TOKEN)}),
        (
            [("classify.intent", TOKEN), ("classify.urgency", TOKEN)],
            {
                key(),
                key("classify.intent", TOKEN),
                key("classify.urgency", TOKEN),
                key("classify.*", TOKEN),
            },
        ),
        (
            [("classify.intent", TOKEN), ("nudge.sms", TOKEN)],
            {key(), key("classify.intent", TOKEN), key("nudge.sms", TOKEN), key(ANY, TOKEN)},
        ),
        (
            [("chat", TOKEN), ("chat", SHORT)],
            {key(), key("chat", TOKEN), key("chat", SHORT)},
        ),
    ],
)
def test_a_wider_key_is_there_where_it_brings_more_together(
    labels: list[tuple[str, OutputKind]], keys: set[CalibrationKey]
) -> None:
    groups = grouped(one(number, *label) for number, label in enumerate(labels))

    assert set(groups) == keys
    assert len(groups[key()]) == len(labels)


def test_answers_with_an_adapter_are_fitted_apart_from_those_of_the_base() -> None:
    groups = grouped([one(1), one(2, adapter="ab" * 32), one(3, "chat", adapter="ab" * 32)])

    own = {found: len(labels) for found, labels in groups.items() if found.adapter}
    base = {found: len(labels) for found, labels in groups.items() if not found.adapter}
    assert base == {key(): 1, key("classify.intent", TOKEN): 1}
    assert own == {
        replace(found, adapter="ab" * 32): count
        for found, count in {
            key(): 2,
            key(ANY, TOKEN): 2,
            key("classify.intent", TOKEN): 1,
            key("chat", TOKEN): 1,
        }.items()
    }


def test_comparisons_weigh_by_how_rarely_their_like_was_drawn_and_a_users_word_like_the_commonest() -> None:
    labels = [one(1, propensity=0.02), one(2, propensity=0.01), one(3, propensity=0.0001), one(4), one(5, weight=3.0)]

    assert [label.weight for label in weighted(labels)] == [1.0, 2.0, 20.0, 1.0, 3.0]


def test_the_stronger_target_is_the_one_most_were_compared_with() -> None:
    assert strong_of([one(1, strong=LARGE), one(2, strong="gpt-4o"), one(3, strong=LARGE), one(4)]) == LARGE
    assert strong_of([one(1)]) is None


@pytest.fixture(scope="module")
def fitted(rules: Rules) -> list[FitOutcome]:
    return fit_all([*overconfident(600), *overconfident(40, "classify.urgency")], {}, rules, NOW)


def by_key(outcomes: list[FitOutcome]) -> dict[CalibrationKey, FitOutcome]:
    return {outcome.key: outcome for outcome in outcomes}


def test_an_overconfident_target_is_believed_less(fitted: list[FitOutcome]) -> None:
    found = by_key(fitted)[key("classify.intent", TOKEN)]

    assert (found.labels, found.accepted, found.reason) == (600, True, "first")
    assert found.calibration is not None
    assert found.calibration.scorer.weights[0] == pytest.approx(0.5, abs=0.15)
    assert (found.calibration.model, found.calibration.strong) == (SMALL, LARGE)


def test_few_labels_lean_on_what_wider_keys_know_from_others(fitted: list[FitOutcome], rules: Rules) -> None:
    leaning = by_key(fitted)[key("classify.urgency", TOKEN)].calibration
    alone = by_key(fit_all([*overconfident(40, "classify.urgency")], {}, rules, NOW))[key("classify.urgency", TOKEN)]

    assert leaning is not None
    assert alone.calibration is not None
    assert abs(leaning.scorer.weights[0] - 0.5) < abs(alone.calibration.scorer.weights[0] - 0.5)


def test_no_label_counts_twice_by_way_of_a_wider_key(rules: Rules) -> None:
    labels = [*overconfident(40)]

    found = by_key(fit_all(labels, {}, rules, NOW))[key("classify.intent", TOKEN)]

    assert _calibration(found).scorer == fit(weighted([label for label in labels if not heldout(label.job)]))


def test_what_was_fitted_can_be_stored_and_read(fitted: list[FitOutcome]) -> None:
    calibrations = in_force_after({}, fitted)

    assert decode_document(encode_document(calibrations.values()).encode()) == calibrations
    assert len({each.version for each in calibrations.values()}) == len(calibrations)
    assert all(each.version.startswith("20261120-") for each in calibrations.values())


def test_the_same_labels_give_the_same_calibrations(fitted: list[FitOutcome], rules: Rules) -> None:
    assert fit_all([*overconfident(600), *overconfident(40, "classify.urgency")], {}, rules, NOW) == fitted


def test_what_is_no_better_than_what_is_in_force_is_refused(fitted: list[FitOutcome], rules: Rules) -> None:
    in_force = in_force_after({}, fitted)

    labels = [*overconfident(600), *overconfident(40, "classify.urgency")]
    again = by_key(fit_all(labels, in_force, rules, NOW + 1))[key("classify.intent", TOKEN)]

    assert (again.accepted, again.reason) == (False, "brier does not improve")
    assert in_force_after(in_force, [again]) == in_force


def test_a_bad_calibration_in_force_is_replaced(rules: Rules, fitted: list[FitOutcome]) -> None:
    good = by_key(fitted)[key("classify.intent", TOKEN)].calibration
    assert good is not None
    bad = replace(good, scorer=Scorer(Fit.PLATT, ("min_logit",), (3.0,), 4.0), version="bad")

    found = by_key(fit_all([*overconfident(600)], {bad.key: bad}, rules, NOW))[bad.key]

    assert (found.accepted, found.reason) == (True, "brier improves")
    assert found.verdict is not None
    assert found.verdict.brier is not None
    assert found.verdict.brier_before is not None
    assert found.verdict.brier < found.verdict.brier_before


def bound_to(other: str) -> dict[str, object]:
    return {"of another model": {"model": "m"}, "withdrawn": {"withdrawn": "drift"}}[other]  # type: ignore[return-value]


@pytest.mark.parametrize("why", ["of another model", "withdrawn"])
def test_what_no_longer_serves_needs_no_beating(rules: Rules, fitted: list[FitOutcome], why: str) -> None:
    in_force = in_force_after({}, fitted)
    unfit = {each: replace(found, **bound_to(why)) for each, found in in_force.items()}  # type: ignore[arg-type]

    found = by_key(fit_all([*overconfident(600)], unfit, rules, NOW))[key("classify.intent", TOKEN)]

    assert (found.accepted, found.reason) == (True, "first")


def test_another_promise_asks_for_another_threshold_even_from_an_equal_scorer(
    rules: Rules, fitted: list[FitOutcome]
) -> None:
    promised = in_mode(rules, ThresholdMode.GUARANTEE)
    leaf = key("classify.intent", TOKEN)
    labels = [*overconfident(600)]

    first = by_key(fit_all(labels, in_force_after({}, fitted), promised, NOW))[leaf]
    again = by_key(fit_all(labels, {leaf: _calibration(first)}, promised, NOW))[leaf]

    assert (first.accepted, first.reason) == (True, "first")
    assert _calibration(first).threshold is not None
    assert again.accepted is False


def _calibration(outcome: FitOutcome) -> Calibration:
    assert outcome.calibration is not None
    return outcome.calibration


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([one(number) for number in range(40)], "labels: must hold both good answers and bad ones"),
        ([one(number) for number in range(60) if heldout(f"acme.job-{number}")], "labels: must be more"),
        (
            [one(n, good=n % 2 == 0) for n in range(60) if not heldout(f"acme.job-{n}")],
            "no held out labels",
        ),
    ],
)
def test_a_refusal_says_why(rules: Rules, labels: list[LabelledAnswer], reason: str) -> None:
    outcomes = fit_all(labels, {}, rules, NOW)

    assert [outcome.accepted for outcome in outcomes] == [False, False]
    assert all(outcome.reason.startswith(reason) for outcome in outcomes)
    assert in_force_after({}, outcomes) == {}


@pytest.mark.parametrize("field", ["target", "strong"])
def test_a_label_of_an_unknown_target_is_an_error(rules: Rules, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^labels\.{field}: 'llama-9b' must be one of llama-8b"):
        fit_all([one(1, **{field: "llama-9b"})], {}, rules, NOW)


def test_a_promise_is_shared_by_the_tiers_of_the_longest_route(rules: Rules) -> None:
    target = rules.catalogue.targets[SMALL]
    tiers = max(
        sum("logprobs" in rung.capabilities for rung in ladder[:-1])
        for ladder in rules.routes.by_tier.values()
        if target in ladder
    )

    goal = goal_of(target, in_mode(rules, ThresholdMode.GUARANTEE))

    assert tiers > 1
    assert (goal.risk * tiers, goal.delta * tiers) == pytest.approx((rules.confidence.risk, rules.confidence.delta))


def test_a_version_names_what_was_fitted_and_the_day(fitted: list[FitOutcome]) -> None:
    found = _calibration(fitted[0])

    assert version_of(found) == version_of(replace(found, fitted_at=NOW + 1, version="x"))
    assert version_of(found) != version_of(replace(found, labels=found.labels + 1))
