"""Where a job's content may be processed: the stricter of the tenant's rule and the job's own word, and never by a name
that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from fleet.model.action import Finish, GiveUp, Run, Wait
from fleet.model.attempt import FailureKind, Judged
from fleet.model.calibration import OutputKind, Probe
from fleet.model.job import CLOUD_DENY, Cloud, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Shadow, Status
from fleet.model.view import Sojourn
from policies import shadow
from policies.plan import next_action
from policies.routing.eligibility import wants_for_a_target
from policies.rules.rules import Rules
from policies.rules.sections import Residency, ResidencyRules

NOW = 1_001.0
AT = {
    "llama-8b": "de",
    "mixtral-8x7b": "us",
    "llama-70b": "de",
    "gpt-4o": "us",
    "gpt-4o-mini": "us",
    "claude-sonnet": "de",
}
"""The regions of the targets; Groq states none."""

ANYWHERE = Residency()


@pytest.fixture(scope="session")
def placed(rules: Rules) -> Callable[..., Rules]:
    """The shipped rules with targets in two regions, and rules of residency by tenant."""
    catalogue = rules.catalogue
    targets = {name: replace(target, region=AT.get(name)) for name, target in catalogue.targets.items()}
    there = replace(catalogue, targets=MappingProxyType(targets))

    def build(default: Residency = ANYWHERE, **tenants: Residency) -> Rules:
        return replace(rules, catalogue=there, residency=ResidencyRules(default, tenants))

    return build


def residency(*regions: str, providers: Any = None) -> Residency:
    return Residency(frozenset(regions) or None, providers and frozenset(providers))


def targets_run(job: Any, view: Any, rules: Rules, failed: Any) -> list[str]:
    """The targets of a job whose every attempt fails for good."""
    attempts: tuple[Any, ...] = ()
    while isinstance(action := next_action(job, attempts, view, NOW, rules), Run):
        attempts += (failed(len(attempts) + 1, action.target, FailureKind.CONTENT_FILTER),)
    return [attempt.target for attempt in attempts]


EVERYWHERE = ["llama-8b", "mixtral-8x7b", "llama-70b", "groq-gpt-oss-120b", "gpt-4o", "claude-sonnet"]


@pytest.mark.parametrize(
    ("rule", "said", "reached"),
    [
        (residency(), {}, EVERYWHERE),
        (residency(), {"regions": ("de", "us")}, [name for name in EVERYWHERE if name != "groq-gpt-oss-120b"]),
        (residency(), {"regions": ("de",)}, ["llama-8b", "llama-70b", "claude-sonnet"]),
        (residency("de"), {}, ["llama-8b", "llama-70b", "claude-sonnet"]),
        (residency("de"), {"regions": ("de", "us")}, ["llama-8b", "llama-70b", "claude-sonnet"]),
        (residency("de", "us"), {"regions": ("us",)}, ["mixtral-8x7b", "gpt-4o"]),
        (residency("de"), {"cloud": CLOUD_DENY}, ["llama-8b", "llama-70b"]),
        (residency(), {"regions": ("us",), "cloud": Cloud(frozenset({"anthropic"}))}, ["mixtral-8x7b"]),
        (residency(providers=["fleet"]), {}, ["llama-8b", "mixtral-8x7b", "llama-70b"]),
        (residency(providers=["openai", "groq"]), {}, ["groq-gpt-oss-120b", "gpt-4o"]),
        (residency(providers=["openai", "groq"]), {"cloud": Cloud(frozenset({"groq"}))}, ["groq-gpt-oss-120b"]),
        (residency("de", providers=["anthropic", "openai"]), {}, ["claude-sonnet"]),
    ],
)  # fmt: skip
def test_a_job_climbs_only_where_both_rule_and_job_permit(placed, job, view, failed, rule, said, reached):
    assert targets_run(job(**said), view(), placed(rule), failed) == reached


def test_a_tenant_s_own_rule_stands_in_place_of_the_default(placed, job, view, failed):
    rules = placed(residency("de"), beta=residency("us"))
    assert targets_run(job(tenant="beta"), view(), rules, failed) == ["mixtral-8x7b", "gpt-4o"]
    assert targets_run(job(tenant="acme"), view(), rules, failed) == ["llama-8b", "llama-70b", "claude-sonnet"]


def test_a_tenant_s_own_key_opens_no_other_region(placed, job, view):
    mine = job(plan=Plan.OWN_KEY, own_key="openai/main", regions=("de",))
    assert next_action(mine, (), view(), NOW, placed()).reason is Reason.RESIDENCY


def test_a_job_that_names_a_target_elsewhere_starts_at_the_first_above_it_that_is_not(placed, job, view):
    pinned = job(request={"model": "gpt-4o"}, regions=("de",))
    assert next_action(pinned, (), view(), NOW, placed()).target == "claude-sonnet"
    alone = job(request={"model": "gpt-4o-mini"}, regions=("de",))
    assert next_action(alone, (), view(), NOW, placed()).reason is Reason.RESIDENCY


def test_a_job_no_target_may_take_ends_at_once_and_is_told_why(placed, job, view):
    ended = next_action(job(tenant="beta", regions=("de",)), (), view(), NOW, placed(beta=residency("us")))
    assert isinstance(ended, GiveUp)
    assert (ended.status, ended.reason, ended.dead) == (Status.FAILED, Reason.RESIDENCY, True)
    assert "llama-8b: the rules permit beta region us only, not de" in ended.problem.message
    assert "mixtral-8x7b: the job permits region de only, not us" in ended.problem.message
    assert "groq-gpt-oss-120b: the job permits region de only, not an unknown region" in ended.problem.message
    assert not wants_for_a_target(ended), "no other dispatcher is asked first"


def test_a_job_that_is_to_run_later_and_that_no_target_may_take_ends_at_once_as_well(placed, job, view):
    rules = placed(residency(providers=["fleet"]))
    later = job("review.critique", not_before_at=NOW + 500.0)
    assert next_action(later, (), view(), NOW, rules).reason is Reason.RESIDENCY
    waits = next_action(job(not_before_at=NOW + 20.0, regions=("us",)), (), view(), NOW, rules)
    assert waits == Wait("mixtral-8x7b", 20.0, Reason.DELAYED)


def test_where_a_target_is_permitted_and_not_there_the_reason_is_another(placed, job, view):
    ended = next_action(job("review.critique", regions=("de",)), (), view(without=("claude-sonnet",)), NOW, placed())
    assert ended.reason is Reason.NO_TARGET
    assert "gpt-4o: the job permits region de only, not us" in ended.problem.message
    assert "claude-sonnet: not available" in ended.problem.message


def test_a_prompt_too_long_for_every_target_it_may_reach_is_rejected_by_name(placed, job, view):
    long = job(text="word " * 30_000, regions=("de",), cloud=CLOUD_DENY)
    action = next_action(long, (), view(), NOW, placed())
    assert (action.status, action.problem.field) == (Status.REJECTED, "request.messages")


def test_an_answer_in_hand_is_the_result_where_the_better_targets_are_elsewhere(placed, job, view, answered):
    attempts = (answered(1, "llama-8b", 0.1),)
    rules = placed(residency("de", providers=["fleet"]))
    assert next_action(job(), attempts, view(without=("llama-70b",)), NOW, rules) == Finish(
        1, Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED
    )


def test_a_better_answer_is_asked_for_only_where_the_content_may_go(placed, job, view):
    better = job(above="llama-70b", regions=("us",), cloud=CLOUD_DENY)
    assert next_action(better, (), view(), NOW, placed()).reason is Reason.RESIDENCY
    again = job(above="llama-70b", regions=("de",))
    assert next_action(again, (), view(), NOW, placed()).target == "claude-sonnet"
    inside = placed(residency("de", providers=["fleet"]))
    assert next_action(again, (), view(), NOW, inside).target == "llama-70b", "nothing above may be reached"


def test_a_shut_or_failing_target_is_never_replaced_by_one_elsewhere(placed, job, view, failed):
    here = job(regions=("de",), cloud=CLOUD_DENY)
    shut = next_action(here, (), view(llama_8b=NOW + 9, llama_70b=NOW + 5), NOW, placed())
    assert shut == Wait("llama-70b", 5.0, Reason.BREAKER_OPEN)
    attempts = (failed(1, "llama-8b", FailureKind.CONTENT_FILTER), failed(2, "llama-70b", FailureKind.CONTENT_FILTER))
    assert next_action(here, attempts, view(), NOW, placed()).reason is Reason.ALL_FAILED


def test_a_busy_target_is_left_only_for_one_where_the_content_may_go(placed, job, view):
    slow = Sojourn(500.0, 100, NOW, 1.0)
    seen = view()
    busy = replace(seen.targets["llama-8b"], sojourns={Lane.STANDARD: slow})
    crowded = replace(seen, targets={**seen.targets, "llama-8b": busy})

    def goes(**said: Any) -> Run:
        return next_action(job(deadline_at=NOW + 60.0, **said), (), crowded, NOW, placed())

    assert goes() == Run("mixtral-8x7b", Reason.OVERLOADED)
    assert goes(regions=("de",)) == Run("llama-70b", Reason.OVERLOADED)


def test_a_comparison_goes_only_where_the_content_may_go(placed, job, view, answered):
    def drawn(rules: Rules, **said: Any) -> Shadow | None:
        rules = replace(rules, shadow=replace(rules.shadow, kept=1.0, cloud=True))
        kept = Finish(1, Status.SUCCEEDED, Reason.CONFIDENT)
        return shadow.shadow_of(job(**said), (answered(1, "llama-8b", 0.9),), kept, view, NOW, rules)

    assert drawn(placed()).target == "mixtral-8x7b"
    assert drawn(placed(), regions=("de",)).target == "llama-70b"
    assert drawn(placed(residency("de"))).target == "llama-70b"
    assert drawn(placed(residency("de")), request={"model": "gpt-4o"}) is None


def test_a_comparison_under_way_is_not_made_once_the_rules_forbid_it(placed, job, view, answered):
    it, kept = Shadow("job-0123456789abcdef", "mixtral-8x7b", 1, 0.01), (answered(1, "llama-8b", 0.9),)
    assert shadow.next_action(it, job(), kept, view(), NOW, placed()) == Run("mixtral-8x7b", Reason.SHADOW)
    assert isinstance(shadow.next_action(it, job(), kept, view(), NOW, placed(residency("de"))), GiveUp)


def test_a_second_look_is_taken_only_where_the_content_may_go(placed, job, view, answered):
    near = replace(answered(1, "llama-8b", 0.7), judged=Judged(0.75, OutputKind.SHORT, probe=Probe.PREFILL))
    looked = next_action(job(), (near,), view(), NOW, placed())
    assert (looked.target, looked.reason) == ("mixtral-8x7b", Reason.GREY_BAND)
    stays = next_action(job(regions=("de",)), (near,), view(), NOW, placed())
    assert (stays.target, stays.reason) == ("llama-70b", Reason.LOW_CONFIDENCE)


@pytest.mark.parametrize("regions", [("eu",), ("de", "eu")])
def test_an_unknown_region_is_rejected_with_those_that_exist(placed, job, view, regions):
    action = next_action(job(regions=regions), (), view(), NOW, placed())
    assert isinstance(action, GiveUp)
    assert (action.status, action.reason, action.problem.field) == (Status.REJECTED, Reason.INVALID, "regions")
    assert (action.problem.message, action.problem.rule) == ("unknown region 'eu'", "must be a list of de, us")


def test_where_no_region_is_stated_a_job_that_names_one_is_rejected(rules, job, view):
    action = next_action(job(regions=("de",)), (), view(), NOW, rules)
    assert (action.status, action.problem.field) == (Status.REJECTED, "regions")
    assert "states regions" in action.problem.rule
