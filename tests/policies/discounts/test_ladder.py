"""What gives the same answers for less is tried first, where the deadline leaves time for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import fit_all
from fleet.model.action import Finish, Run, Wait
from fleet.model.attempt import FailureKind
from fleet.model.batched import Observed
from fleet.model.calibration import Calibration, CalibrationKey, Fit, OutputKind, Scorer
from fleet.model.errors import ConfigError
from fleet.model.job import Cloud, Job, Plan
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.view import Breaker, TargetView, View
from policies.confidence.judge import judge
from policies.confidence.signals import Evidence
from policies.plan import next_action
from policies.rules.catalogue import catalogue_of
from policies.rules.discounts import DiscountRules
from policies.rules.rules import Rules
from policies.shadow import shadow_of

NOW = 1_002.0
HOUR = 3_600.0
PINNED = {"messages": [{"role": "user", "content": "Hi"}], "model": "gpt-4o"}


def equal_of(rules: Rules, name: str, original: str, price: float, **changes: Any) -> Any:
    usual = rules.catalogue.targets[original]
    prices = {
        "input_usd_per_million_tokens": usual.input_usd_per_million_tokens * price,
        "output_usd_per_million_tokens": usual.output_usd_per_million_tokens * price,
        "cached_input_usd_per_million_tokens": None,
    }
    return replace(usual, name=name, same_as=original, **prices, **changes)


@pytest.fixture(scope="session")
def discounted(rules: Rules) -> Callable[..., Rules]:
    """Phase 1, which is all cloud: gpt-4o-mini, gpt-4o, claude-sonnet; gpt-4o has four equals."""
    equals = (
        equal_of(rules, "gpt-4o-flex", "gpt-4o", 0.5, service_tier="flex", timeout_seconds=540.0),
        equal_of(rules, "gpt-4o-dear", "gpt-4o", 1.5),
        equal_of(rules, "gpt-4o-elsewhere", "gpt-4o", 0.8, provider="groq"),
        equal_of(rules, "gpt-4o-cheapest", "gpt-4o", 0.7),
    )
    catalogue = catalogue_of((*rules.catalogue.targets.values(), *equals), rules.catalogue.providers)

    def build(flex: bool = True, providers: bool = False, **changes: Any) -> Rules:
        phases = {name: replace(phase, simple=("gpt-4o", "claude-sonnet")) for name, phase in rules.phases.items()}
        switches = DiscountRules(flex, providers, **changes)
        return replace(rules, catalogue=catalogue, phases=phases, discounts=switches)

    return build


@pytest.fixture
def open_view(discounted: Callable[..., Rules], view: Callable[..., View]) -> View:
    found = view()
    some = found.targets["gpt-4o"]
    return replace(found, targets=dict.fromkeys(discounted().catalogue.targets, some))


@pytest.mark.parametrize(
    ("left_seconds", "target"),
    [(HOUR, "gpt-4o-flex"), (961.0, "gpt-4o-flex"), (959.0, "gpt-4o"), (60.0, "gpt-4o")],
)
def test_the_flexible_tier_is_tried_where_the_usual_one_still_has_time_after_it(
    discounted, job, open_view, left_seconds, target
):
    action = next_action(job(deadline_at=NOW + left_seconds), (), open_view, NOW, discounted())
    assert isinstance(action, Run) and action.target == target
    assert action.reason is (Reason.ROUTED if target == "gpt-4o" else Reason.CHEAPER)


@pytest.mark.parametrize("kind", [FailureKind.OVERLOADED, FailureKind.TIMEOUT, FailureKind.INVALID_REQUEST])
def test_a_call_that_the_flexible_tier_turned_down_is_made_at_the_usual_one(discounted, job, open_view, failed, kind):
    attempts = (failed(1, "gpt-4o-flex", kind),)
    action = next_action(job(deadline_at=NOW + HOUR), attempts, open_view, NOW, discounted())
    assert action == Run("gpt-4o", Reason.TARGET_FAILED)


def test_a_doubtful_answer_of_an_equal_goes_to_the_next_model_and_not_to_the_same_again(
    discounted, job, open_view, answered
):
    for deadline in (NOW + HOUR, NOW + 60):  # also where the flexible tier has left the ladder since
        action = next_action(
            job(deadline_at=deadline), (answered(1, "gpt-4o-flex", 0.1),), open_view, NOW, discounted()
        )
        assert action == Run("claude-sonnet", Reason.LOW_CONFIDENCE)
    kept = next_action(job(deadline_at=NOW + HOUR), (answered(1, "gpt-4o-flex", 0.99),), open_view, NOW, discounted())
    assert isinstance(kept, Finish)


def test_among_equals_the_price_decides_and_a_dearer_one_is_never_tried(discounted, job, open_view, failed):
    rules = discounted(flex=False, providers=True)
    soon: Job = job(deadline_at=NOW + 60)
    attempts: tuple[Any, ...] = ()
    asked = []
    while isinstance(action := next_action(soon, attempts, open_view, NOW, rules), Run | Wait):
        if isinstance(action, Run):
            asked.append(action.target)
        attempts = (*attempts, failed(len(attempts) + 1, action.target, FailureKind.INVALID_REQUEST))
    assert asked == ["gpt-4o-cheapest", "gpt-4o-elsewhere", "gpt-4o", "claude-sonnet"]


@pytest.mark.parametrize(
    ("changes", "switches"),
    [
        ({}, {"flex": False}),
        ({}, {"tenants": {"acme": False}}),
        ({}, {"slack_seconds": 2 * HOUR}),
        ({"request": PINNED}, {}),
        ({"plan": Plan.OWN_KEY, "own_key": "openai/acme"}, {}),
    ],
)
def test_nothing_changes_where_it_is_off_or_the_job_has_chosen(discounted, job, open_view, changes, switches):
    action = next_action(job(deadline_at=NOW + HOUR, **changes), (), open_view, NOW, discounted(**switches))
    assert isinstance(action, Run) and action.target == "gpt-4o"


def test_where_content_may_go_holds_for_equals_as_for_all(discounted, job, open_view):
    rules = discounted(flex=False, providers=True)
    kept = job(deadline_at=NOW + 60, cloud=Cloud(frozenset({"groq"})))
    action = next_action(kept, (), open_view, NOW, rules)
    assert isinstance(action, Run) and action.target == "gpt-4o-elsewhere"


def test_a_plan_that_does_not_pay_for_a_provider_does_not_pay_for_its_equals(discounted, job, open_view):
    rules = discounted(flex=False, providers=True)
    paid = replace(rules.plans[Plan.PAID], providers=frozenset({"groq", "anthropic"}))
    only_openai = replace(paid, providers=frozenset({"openai"}))
    rules = replace(rules, plans={**rules.plans, Plan.PAID: only_openai})
    cheapest_gone = replace(open_view, targets={**open_view.targets})
    del cheapest_gone.targets["gpt-4o-cheapest"]
    action = next_action(job(deadline_at=NOW + 60), (), cheapest_gone, NOW, rules)
    assert isinstance(action, Run) and action.target == "gpt-4o"


def test_an_answer_above_an_equal_is_one_above_its_original(discounted, job, open_view):
    above = job(deadline_at=NOW + HOUR, above="gpt-4o-flex")
    action = next_action(above, (), open_view, NOW, discounted())
    assert isinstance(action, Run) and action.target == "claude-sonnet"


def test_an_equal_is_judged_as_its_original(discounted, job, answered, features):
    rules = discounted()
    usual, flex = (rules.catalogue.targets[name] for name in ("gpt-4o", "gpt-4o-flex"))
    key = CalibrationKey("gpt-4o", "*", "*")
    scorer = Scorer(Fit.PLATT, ("min_logit",), (0.7,), -0.2)
    known = {key: Calibration(key, usual.model, usual.revision, usual.logprobs_mode, "v7", 1.0, 300, scorer)}
    answer = replace(answered(1, "gpt-4o", None).outcome, features=features)
    assert judge(answer, job(), flex, known, rules) == judge(answer, job(), usual, known, rules)
    assert judge(answer, job(), flex, known, rules)[1].calibration == "v7"


@pytest.mark.parametrize("named", ["gpt-9", "gpt-4o-flex", "gpt-4o-other", "llama-8b"])
def test_an_equal_names_an_original_of_a_provider(rules, named):
    flex = equal_of(rules, "gpt-4o-flex", "gpt-4o", 0.5)
    with pytest.raises(ConfigError, match=r"targets\.gpt-4o-flex\.same_as"):
        other = replace(flex, name="gpt-4o-other")
        catalogue_of((*rules.catalogue.targets.values(), other, replace(flex, same_as=named)))


@pytest.mark.parametrize("switch", ["flex", "providers", "batch"])
def test_a_switch_with_nothing_to_switch_on_is_refused(rules, switch):
    with pytest.raises(ConfigError, match=rf"discounts\.{switch}"):
        replace(rules, discounts=DiscountRules(**{switch: True}))


def test_a_kept_answer_of_an_equal_is_compared_with_the_model_above_its_original(discounted, job, open_view, answered):
    rules = discounted()
    rules = replace(rules, shadow=replace(rules.shadow, kept=1.0, cloud=True))
    kept = Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)
    found = shadow_of(job(), (answered(1, "gpt-4o-flex", 0.99),), kept, lambda: open_view, NOW, rules)
    assert found is not None and found.target == "claude-sonnet"


def test_labels_of_an_equal_fit_the_calibration_of_its_original(discounted, features):
    label = LabelledAnswer(
        "gpt-4o-flex", "classify.intent", OutputKind.TOKEN, "acme.job-1", Evidence(features), good=True
    )
    found = fit_all([label], {}, discounted(), NOW)
    assert {outcome.key.target for outcome in found} == {"gpt-4o"}


@pytest.fixture
def batched(discounted: Callable[..., Rules]) -> Callable[..., Rules]:
    """The same rules, with batches of gpt-4o in place of its other equals."""

    def build(**changes: Any) -> Rules:
        rules = discounted(flex=False)
        batch = equal_of(rules, "gpt-4o-batch", "gpt-4o", 0.5, service_tier="batch", batch_wait_seconds=60.0)
        catalogue = catalogue_of((*rules.catalogue.targets.values(), batch), rules.catalogue.providers)
        return replace(rules, catalogue=catalogue, discounts=DiscountRules(batch=True, **changes))

    return build


@pytest.fixture
def batch_view(open_view: View) -> Callable[..., View]:
    def build(queued: int = 0, seen: tuple[Observed, ...] = ()) -> View:
        targets = {**open_view.targets, "gpt-4o-batch": TargetView(queued=queued)}
        return replace(open_view, targets=targets, batches={"gpt-4o-batch": seen})

    return build


STUCK = tuple(Observed(80_000.0, ended=False) for _ in range(400))


@pytest.mark.parametrize(
    ("left_seconds", "queued", "seen", "promise", "target"),
    [
        (12 * HOUR, 0, (), 0.01, "gpt-4o-batch"),
        (600.0, 0, (), 0.01, "gpt-4o-batch"),
        (179.0, 0, (), 0.01, "gpt-4o"),  # no time for a batch to be closed and two calls
        (12 * HOUR, 32, (), 0.01, "gpt-4o"),  # as many wait as may
        (12 * HOUR, 0, STUCK, 0.01, "gpt-4o"),  # no batch there has ended
        (12 * HOUR, 0, (), 0.0001, "gpt-4o"),  # the promise would be broken
    ],
)
def test_a_batch_is_taken_where_all_that_was_seen_of_them_keeps_the_promise(
    batched, job, batch_view, left_seconds, queued, seen, promise, target
):
    rules = batched(promise=promise)
    action = next_action(job(deadline_at=NOW + left_seconds), (), batch_view(queued, seen), NOW, rules)
    assert isinstance(action, Run) and action.target == target


@pytest.mark.parametrize(
    ("left_seconds", "target"), [(12 * HOUR, "gpt-4o-batch"), (121.0, "gpt-4o-batch"), (119.0, "gpt-4o")]
)
def test_a_job_that_was_handed_to_batches_stays_until_only_the_time_of_two_calls_is_left(
    batched, job, batch_view, left_seconds, target
):
    rules, sent = batched(), Run("gpt-4o-batch", Reason.CHEAPER)
    view = batch_view(10_000, STUCK)  # what is seen meanwhile does not move a job that may be in a batch
    shut = replace(view, targets={**view.targets, "gpt-4o-batch": TargetView(breaker=Breaker(5, 1, NOW + HOUR))})
    for seen in (view, shut):
        action = next_action(job(deadline_at=NOW + left_seconds), (), seen, NOW, rules, sent)
        assert isinstance(action, Run) and action.target == target


def test_the_flexible_tier_comes_before_a_batch_and_never_takes_a_job_out_of_one(batched, job, batch_view):
    rules = replace(batched(), discounts=DiscountRules(flex=True, batch=True))
    late = job(deadline_at=NOW + 12 * HOUR)
    first = next_action(late, (), batch_view(), NOW, rules)
    assert isinstance(first, Run) and first.target == "gpt-4o-flex"
    sent = Run("gpt-4o-batch", Reason.CHEAPER)
    assert next_action(late, (), batch_view(), NOW, rules, sent) == sent


@pytest.mark.parametrize("changes", [{"same_as": None}, {"provider": "fleet"}])
def test_batches_belong_to_an_equal_at_a_provider_that_has_them(rules, changes):
    batch = equal_of(rules, "gpt-4o-batch", "gpt-4o", 0.5, service_tier="batch")
    with pytest.raises(ConfigError, match=r"targets\.gpt-4o-batch\."):
        catalogue_of((*rules.catalogue.targets.values(), replace(batch, **changes)), rules.catalogue.providers)


def test_no_ladder_names_a_target_that_runs_in_batches(batched):
    rules = batched()
    phases = {name: replace(phase, simple=("gpt-4o-batch",)) for name, phase in rules.phases.items()}
    with pytest.raises(ConfigError, match=r"phases\..*simple\.0"):
        replace(rules, phases=phases)
