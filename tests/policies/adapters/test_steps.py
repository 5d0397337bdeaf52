"""The steps of an adapter: which version answers after each, and what is refused, by field and rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter
from fleet.model.errors import FieldError
from fleet.model.experiment import Arm, Experiment, Stage, Unit
from policies.adapters import steps

PASSED = {"passed": True}
OLD, NEW, OTHER = (AdapterVersion(digit * 64, "b" * 64, 16, 1000, 1.0, evidence=PASSED) for digit in "123")
SCOPE = RegisteredAdapter("scheduler", "llama-8b", frozenset({"plan.schedule"}))
SERVED = replace(SCOPE, versions=(OLD, NEW), aliases={Alias.STABLE: OLD.digest, Alias.CANDIDATE: NEW.digest})
TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.1, adapter=NEW.digest),))


def refusal(do, *arguments, **named) -> tuple[str, str]:
    with pytest.raises(FieldError) as refused:
        do(*arguments, **named)
    return refused.value.field, refused.value.rule


def test_a_version_is_added_and_nothing_answers_with_it_yet():
    first = steps.registered({}, replace(SERVED, why="of before"), OLD, 2.0)
    assert first.why is None
    assert (first.versions, first.aliases, first.changed_at) == ((OLD,), {}, 2.0)
    second = steps.registered({"scheduler": replace(first, aliases={Alias.STABLE: OLD.digest})}, SCOPE, NEW, 3.0)
    assert (second.versions, second.at(Alias.STABLE)) == ((OLD, NEW), OLD)


def test_equal_content_stays_as_it_was_registered_first():
    again = replace(OLD, registered_at=9.0, evidence=None)
    assert steps.registered({"scheduler": SERVED}, SCOPE, again, 9.0) == SERVED


def test_where_there_are_too_many_versions_the_oldest_that_no_alias_names_goes():
    versions = tuple(replace(OLD, digest=f"{n:064x}") for n in range(steps.MOST_VERSIONS))
    full = replace(SCOPE, versions=versions, aliases={Alias.PREVIOUS: versions[0].digest})
    found = steps.registered({"scheduler": full}, SCOPE, replace(OLD, digest="f" * 64), 2.0).versions
    assert len(found) == steps.MOST_VERSIONS
    assert (found[0], found[1], found[-1].digest) == (versions[0], versions[2], "f" * 64)


@pytest.mark.parametrize(
    ("wrong", "version", "field", "rule"),
    [
        ({"name": "No Spaces"}, {}, "name", "must match"),
        ({"tasks": frozenset()}, {}, "tasks", "at least one name"),
        ({"tenants": frozenset()}, {}, "tenants", "at least one name"),
        ({"tenants": frozenset({"a b"})}, {}, "tenants", "'a b' must match"),
        ({}, {"digest": "latest"}, "digest", "64 hexadecimal"),
        ({}, {"base_digest": ""}, "base_digest", "64 hexadecimal"),
        ({}, {"card": {"why": "x" * steps.MOST_BYTES["card"]}}, "card", "at most 16,384 bytes as JSON, not 16,395"),
        ({"target": "llama-70b"}, {}, "target", "must be llama-8b, as 'scheduler' was registered"),
        ({"tasks": frozenset({"chat"})}, {}, "tasks", "must be plan.schedule, as"),
        ({"tenants": frozenset({"acme"})}, {}, "tenants", "must be all, as"),
        ({}, {"base_digest": "c" * 64}, "base_digest", "must be bbbbbbbbbbbb, the base this content was registered"),
        ({"name": "second"}, {}, "tenants, tasks", "overlap with those of 'scheduler' in plan.schedule"),
        ({"name": "second", "tenants": frozenset({"acme"})}, {}, "tenants, tasks", "overlap"),
    ],
)
def test_what_is_wrong_with_a_registration_is_named_with_its_field_and_rule(wrong, version, field, rule):
    there = {"scheduler": SERVED}
    found = refusal(steps.registered, there, replace(SCOPE, **wrong), replace(OLD, **version), 2.0)
    assert found[0] == field
    assert rule in found[1]


@pytest.mark.parametrize("other", [{"tasks": frozenset({"chat"})}, {"target": "llama-70b"}])
def test_adapters_of_other_tasks_or_targets_stand_beside_each_other(other):
    second = replace(SCOPE, name="second", **other)
    assert steps.registered({"scheduler": SERVED}, second, OLD, 2.0).versions == (OLD,)


def test_tenants_have_adapters_of_their_own_for_one_task():
    of_one = {"scheduler": replace(SERVED, tenants=frozenset({"acme"}))}
    second = replace(SCOPE, name="second", tenants=frozenset({"globex"}))
    assert steps.registered(of_one, second, OLD, 2.0).name == "second"


def test_a_candidate_is_promoted_and_what_was_stable_is_previous():
    done = steps.promoted(SERVED, None, [], "better", 3.0)
    assert done.aliases == {Alias.STABLE: NEW.digest, Alias.PREVIOUS: OLD.digest}
    assert (done.why, done.changed_at, done.versions) == ("better", 3.0, SERVED.versions)


def test_a_named_version_is_promoted_past_the_candidate():
    three = replace(SERVED, versions=(*SERVED.versions, OTHER))
    done = steps.promoted(three, OTHER.digest[:12], [], "", 3.0)
    assert done.aliases == {
        Alias.STABLE: OTHER.digest,
        Alias.PREVIOUS: OLD.digest,
        Alias.CANDIDATE: NEW.digest,
    }


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (None, "nobody has tried it"),
        ({}, "did not pass"),
        ({"passed": False}, "did not pass"),
        ({"passed": True, "serves": ["chat"]}, "nobody has tried it on plan.schedule"),
    ],
)
def test_without_passed_gates_nothing_is_promoted_but_by_force(evidence, rule):
    untried = replace(SERVED, versions=(OLD, replace(NEW, evidence=evidence)))
    field, found = refusal(steps.promoted, untried, None, [], "", 3.0)
    assert field == "evidence"
    assert rule in found
    assert steps.promoted(untried, None, [], "", 3.0, forced=True).aliases[Alias.STABLE] == NEW.digest


@pytest.mark.parametrize(
    ("trial", "is_refused"),
    [
        ({}, True),
        ({"stage": Stage.STOPPED}, False),
        ({"stage": Stage.PROMOTED, "winner": "candidate"}, False),
        ({"arms": (Arm("candidate", 0.1, adapter=OTHER.digest),)}, False),
        ({"arms": (Arm("candidate", 0.1, target="llama-70b"),)}, False),
        ({"arms": (Arm("old", 0.1, adapter=OLD.digest),), "stage": Stage.PROMOTED, "winner": "old"}, True),
    ],
)
def test_nothing_is_promoted_during_a_roll_out_of_the_adapter_but_what_it_gives_everybody(trial, is_refused):
    experiments = [replace(TRIAL, **trial)]
    if is_refused:
        field, rule = refusal(steps.promoted, SERVED, None, experiments, "", 3.0, forced=True)
        assert field == "roll-out"
        assert "'trial'" in rule
        assert "stop it first" in rule
    else:
        assert steps.promoted(SERVED, None, experiments, "", 3.0).aliases[Alias.STABLE] == NEW.digest


@pytest.mark.parametrize("digest", ["9" * 64, "1", ""])
def test_an_unknown_version_takes_no_step(digest):
    for do in (
        lambda: steps.promoted(SERVED, digest, [], "", 3.0),
        lambda: steps.nominated(SERVED, digest, "", 3.0),
        lambda: steps.with_evidence(SERVED, digest, PASSED, 3.0),
    ):
        field, rule = refusal(do)
        assert field == "digest"
        assert "is no version of 'scheduler': 111111111111, 222222222222" in rule


def test_a_beginning_that_two_versions_share_names_neither():
    twin = replace(NEW, digest="1" * 63 + "0")
    assert refusal(steps.version_of, replace(SCOPE, versions=(OLD, twin)), "1" * 12)[0] == "digest"


def test_what_is_stable_already_is_neither_nominated_nor_promoted():
    for do in (
        lambda: steps.nominated(SERVED, OLD.digest, "", 3.0),
        lambda: steps.promoted(SERVED, OLD.digest, [], "", 3.0),
    ):
        assert refusal(do) == ("digest", "111111111111 is stable already")


def test_without_a_candidate_a_promotion_must_name_its_version():
    assert refusal(steps.promoted, replace(SERVED, aliases={}), None, [], "", 3.0)[0] == "digest"


def test_a_version_is_nominated_in_place_of_the_candidate():
    done = steps.nominated(replace(SERVED, versions=(OLD, NEW, OTHER)), OTHER.digest, "of this week", 3.0)
    assert (done.at(Alias.CANDIDATE), done.at(Alias.STABLE), done.why) == (OTHER, OLD, "of this week")


def test_evidence_is_kept_for_its_version_and_moves_nothing():
    done = steps.with_evidence(SERVED, NEW.digest, {"passed": False}, 3.0)
    assert (done.versions, done.aliases) == ((OLD, replace(NEW, evidence={"passed": False})), SERVED.aliases)
    for wrong in ({"x": "y" * steps.MOST_BYTES["evidence"]}, {"passed": True, "adapter": OLD.digest}):
        assert refusal(steps.with_evidence, SERVED, NEW.digest, wrong, 3.0)[0] == "evidence"
    assert steps.with_evidence(SERVED, NEW.digest, {"adapter": NEW.digest}, 3.0).versions[1].evidence


def test_a_roll_back_goes_to_what_was_stable_before_and_then_to_the_base():
    promoted = steps.promoted(SERVED, None, [], "", 3.0)
    once = steps.rolled_back(promoted, NEW.digest, "worse", 4.0)
    assert (once.aliases, once.why) == ({Alias.STABLE: OLD.digest}, "worse")
    twice = steps.rolled_back(once, OLD.digest, "worse still", 5.0)
    assert (twice.aliases, twice.versions) == ({}, SERVED.versions)
    assert "the base answers" in refusal(steps.rolled_back, twice, None, "", 6.0)[1]


def test_a_roll_back_leaves_the_candidate_on_trial():
    assert steps.rolled_back(SERVED, OLD.digest, "", 4.0).aliases == {Alias.CANDIDATE: NEW.digest}


def test_of_two_who_roll_back_at_once_the_second_is_told():
    promoted = steps.promoted(SERVED, None, [], "", 3.0)
    once = steps.rolled_back(promoted, NEW.digest, "", 4.0)
    field, rule = refusal(steps.rolled_back, once, NEW.digest, "", 4.0)
    assert field == "stable"
    assert "by somebody else a moment ago: 111111111111 is stable, so look again" in rule


def test_a_version_that_is_dismissed_is_on_trial_no_more_and_another_stays():
    after = steps.dismissed(SERVED, NEW.digest, "worse", 5.0)
    assert (after.aliases, after.why) == ({Alias.STABLE: OLD.digest}, "worse")
    assert steps.dismissed(SERVED, OTHER.digest, "worse", 5.0) is SERVED


def test_what_is_withdrawn_has_its_versions_and_a_reason_left():
    done = steps.withdrawn(replace(SERVED, aliases={**SERVED.aliases, Alias.PREVIOUS: OTHER.digest}), "erased", 4.0)
    assert (done.aliases, done.versions, done.why, done.changed_at) == ({}, SERVED.versions, "erased", 4.0)


def test_what_answers_jobs_is_not_removed():
    field, rule = refusal(steps.check_removal, SERVED, [])
    assert (field, rule) == ("stable", "111111111111 answers jobs: withdraw 'scheduler' first")
    steps.check_removal(SERVED, [], forced=True)
    steps.check_removal(replace(SERVED, aliases={}), [])
    assert refusal(steps.check_removal, SERVED, [TRIAL], forced=True)[0] == "roll-out"


def test_an_unknown_name_is_refused_with_those_there_are():
    assert refusal(steps.found, {"scheduler": SERVED}, "second") == (
        "name",
        "'second' is none of the adapters: scheduler",
    )
    assert steps.found({"scheduler": SERVED}, "scheduler") is SERVED


@pytest.mark.parametrize(
    ("wrong", "field", "rule"),
    [
        ({"target": "gpt-9"}, "target", "'gpt-9' is not in the catalogue"),
        ({"tasks": frozenset({"sing"})}, "tasks", "'sing' is not among the tasks"),
    ],
)
def test_an_adapter_is_of_a_target_and_of_tasks_that_the_rules_know(rules, wrong, field, rule):
    found = refusal(steps.check, replace(SCOPE, **wrong), rules)
    assert found[0] == field
    assert rule in found[1]
    steps.check(SCOPE, rules)


@pytest.mark.parametrize(
    ("there", "trial", "passes"),
    [
        (SERVED, {}, True),
        (SERVED, {"tasks": frozenset({"plan.schedule", "chat"})}, True),
        (SERVED, {"tasks": frozenset({"chat"})}, False),
        (replace(SERVED, tenants=frozenset({"globex"})), {"tenants": frozenset({"acme"})}, False),
        (replace(SERVED, aliases={Alias.STABLE: OLD.digest}), {}, False),
        (None, {}, False),
        (None, {"arms": (Arm("candidate", 0.1, target="llama-8b"),)}, True),
    ],
)
def test_an_arm_names_an_adapter_that_may_answer_its_jobs(there, trial, passes):
    adapters = {} if there is None else {there.name: there}
    if passes:
        steps.check_arms(adapters, replace(TRIAL, **trial))
    else:
        assert refusal(steps.check_arms, adapters, replace(TRIAL, **trial))[0] == "arms.candidate.adapter"
