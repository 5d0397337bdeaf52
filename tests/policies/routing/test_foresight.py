"""Passing over a rung that a learned router expects to fail."""

from dataclasses import replace

import pytest
from hand_made_router import by_hand

from fleet.model.action import Run
from fleet.model.adapter import Alias, RegisteredAdapter
from fleet.model.reason import Reason
from fleet.model.target import ServedAdapters
from policies.adapters.routing import indexed
from policies.plan import next_action

SMALL, NEXT = "llama-8b", "mixtral-8x7b"
HOPELESS, EASY, STRANGE = "prove prove", "hello hello", "zymurgy quokka"


@pytest.fixture
def start(job, view, rules):
    """The first action for a prompt, with a router for some tasks."""

    targets = rules.catalogue.targets
    small = {SMALL: replace(targets[SMALL], adapters=ServedAdapters(1))}
    serving = replace(rules, catalogue=replace(rules.catalogue, targets={**targets, **small}))

    def decide(text, family="*", enabled=True, router=by_hand, without=(), skip_below=0.4, shut=None, **changes):
        allowed = replace(serving, router=replace(rules.router, enabled=enabled, skip_below=skip_below))
        adapters = indexed(changes.pop("adapters", ()))
        seen = replace(view(without, **(shut or {})), routers={(SMALL, family): router}, adapters=adapters)
        return next_action(job(text=text, **changes), (), seen, 1_000.0, allowed)

    return decide


def test_a_prompt_the_small_model_nearly_always_fails_starts_one_rung_up(start):
    assert start(HOPELESS) == Run(NEXT, Reason.PREDICTED)
    assert start(EASY) == Run(SMALL, Reason.ROUTED)


@pytest.mark.parametrize(("target", "passes_over"), [(SMALL, False), (NEXT, True)])
def test_a_router_says_nothing_of_a_job_that_an_adapter_answers_on_the_first_rung(start, target, passes_over):
    own = RegisteredAdapter("own", target, frozenset({"nudge.recognition"}), aliases={Alias.STABLE: "a" * 64})
    assert (start(HOPELESS, adapters=[own]).reason is Reason.PREDICTED) == passes_over


def test_a_router_is_off_unless_the_rules_switch_it_on(start):
    assert start(HOPELESS, enabled=False) == Run(SMALL, Reason.ROUTED)


def test_a_prompt_unlike_those_it_learned_from_gets_no_verdict(start):
    assert start(STRANGE, skip_below=1.0) == Run(SMALL, Reason.ROUTED)


@pytest.mark.parametrize(
    ("family", "used"), [("nudge.recognition", True), ("nudge.*", True), ("*", True), ("classify.*", False)]
)
def test_a_router_speaks_of_its_own_tasks_only(start, family, used):
    assert (start(HOPELESS, family).reason is Reason.PREDICTED) == used


def test_a_router_learned_against_a_target_that_is_not_above_says_nothing(start):
    assert start(HOPELESS, router=replace(by_hand, strong="some-other")) == Run(SMALL, Reason.ROUTED)


def test_who_names_a_target_or_asks_for_better_has_decided(start):
    assert start(HOPELESS, request={"model": SMALL}) == Run(SMALL, Reason.PINNED)
    assert start(HOPELESS, above=SMALL) == Run(NEXT, Reason.ROUTED)


def test_the_rung_passed_over_is_still_better_than_none(start, rules):
    others = tuple(name for name in rules.catalogue.targets if name != SMALL)
    assert start(HOPELESS, without=others) == Run(SMALL, Reason.ROUTED)


def test_a_job_taken_from_the_queue_again_is_decided_alike(start):
    assert start(HOPELESS) == start(HOPELESS)
