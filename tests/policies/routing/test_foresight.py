"""Passing over a rung that a learned router expects to fail."""

from dataclasses import replace

import pytest
from hand_made_router import by_hand

from fleet.model.action import Run
from fleet.model.reason import Reason
from policies.plan import next_action

SMALL, NEXT = "llama-8b", "mixtral-8x7b"
HOPELESS, EASY, STRANGE = "prove prove", "hello hello", "zymurgy quokka"


@pytest.fixture
def start(job, view, rules):
    """The first action for a prompt, with a router for some tasks."""

    def decide(text, family="*", enabled=True, router=by_hand, without=(), skip_below=0.4, shut=None, **changes):
        allowed = replace(rules, router=replace(rules.router, enabled=enabled, skip_below=skip_below))
        seen = replace(view(without, **(shut or {})), routers={(SMALL, family): router})
        return next_action(job(text=text, **changes), (), seen, 1_000.0, allowed)

    return decide


def test_a_prompt_the_small_model_nearly_always_fails_starts_one_rung_up(start):
    assert start(HOPELESS) == Run(NEXT, Reason.PREDICTED)
    assert start(EASY) == Run(SMALL, Reason.ROUTED)


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
