"""What is refused of an experiment, by field and rule, and the steps it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.errors import FieldError
from fleet.model.experiment import Arm, Experiment, Guardrail, Stage, Unit
from policies.experiments.checks import check, promoted, ramped, started, stopped

ARM = Arm("candidate", 0.1, target="llama-8b")
TRIAL = Experiment("trial", Unit.TENANT, (ARM,))


def refusal(do, *arguments) -> tuple[str, str]:
    with pytest.raises(FieldError) as refused:
        do(*arguments)
    return refused.value.field, refused.value.rule


@pytest.mark.parametrize(
    ("wrong", "field", "rule"),
    [
        ({"name": "No Spaces"}, "name", "must match"),
        ({"arms": ()}, "arms", "one or two"),
        ({"arms": (ARM, ARM)}, "arms", "names of their own"),
        ({"arms": (replace(ARM, name="control"),)}, "arms.control.name", "arm of all others"),
        ({"arms": (replace(ARM, share=1.2),)}, "arms.candidate.share", "between 0 and 1"),
        ({"arms": (replace(ARM, share=0.6), replace(ARM, name="b", share=0.6))}, "arms", "1 at most together"),
        ({"arms": (Arm("candidate", 0.1),)}, "arms.candidate.rules", "must differ"),
        ({"arms": (replace(ARM, target="gpt-9"),)}, "arms.candidate.target", "'gpt-9' is not in the catalogue"),
        ({"arms": (replace(ARM, prompt=""),)}, "arms.candidate.prompt", "at least one"),
        ({"arms": (replace(ARM, cache="sometimes"),)}, "arms.candidate.cache", "none of off, repeatable, any"),
        (
            {"arms": (replace(ARM, adapter="tone"),)},
            "arms.candidate.adapter",
            "must be the digest of a registered version",
        ),
        ({"tasks": frozenset({"sing"})}, "tasks", "'sing' is not among the tasks"),
        ({"tasks": frozenset()}, "tasks", "at least one name"),
        ({"tenants": frozenset({"a b"})}, "tenants", "'a b' must match"),
        ({"margin": 0.0}, "margin", "more than 0"),
        ({"unit_field": ""}, "unit_field", "metadata"),
        ({"tolerances": {Guardrail.LATE: 1.5}}, "guardrails.late", "null turns it off"),
    ],
)
def test_what_is_wrong_is_named_with_its_field_and_rule(rules, wrong, field, rule):
    found = refusal(check, replace(TRIAL, **wrong), rules)
    assert found[0] == field
    assert rule in found[1]


def test_a_whole_experiment_passes(rules):
    check(TRIAL, rules)


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [
        ({"name": "first"}, True),
        ({"name": "first", "tenants": frozenset({"acme"})}, True),
        ({"name": "first", "tasks": frozenset({"chat"})}, False),
        ({"name": "first", "stage": Stage.STOPPED}, False),
        ({"name": "first", "stage": Stage.PROMOTED}, True),
    ],
)
def test_a_job_is_in_one_experiment_at_most(other, is_refused):
    mine = replace(TRIAL, tasks=frozenset({"classify.intent"}))
    if is_refused:
        assert "'first'" in refusal(started, mine, [replace(TRIAL, **other)], 5.0)[1]
    else:
        assert started(mine, [replace(TRIAL, **other)], 5.0).started_at == 5.0


def test_a_name_is_used_once_even_after_its_experiment_has_ended():
    assert refusal(started, TRIAL, [stopped(TRIAL, "done", 1.0)], 2.0)[0] == "name"


def test_a_share_only_grows():
    assert ramped(TRIAL, None, 0.3, 7.0).arms[0].share == 0.3
    for share in (0.1, 0.05, 1.2):
        assert refusal(ramped, TRIAL, "candidate", share, 7.0)[0] == "arms.candidate.share"
    both = replace(TRIAL, arms=(ARM, replace(ARM, name="second", share=0.5)))
    assert refusal(ramped, both, "candidate", 0.6, 7.0)[0] == "arms"
    assert refusal(ramped, both, None, 0.2, 7.0) == ("arm", "must be one of candidate, second")


def test_what_is_stopped_stays_so_and_is_neither_ramped_nor_promoted():
    ended = stopped(TRIAL, "too slow", 3.0)
    assert (ended.stage, ended.why, ended.changed_at) == (Stage.STOPPED, "too slow", 3.0)
    assert stopped(ended, "again", 9.0) is ended
    for step in (lambda: ramped(ended, None, 0.5, 4.0), lambda: promoted(ended, None, "better", 4.0)):
        assert refusal(step) == ("stage", "'trial' must be running, and is stopped (too slow)")


def test_a_promoted_arm_may_still_be_stopped():
    won = promoted(TRIAL, None, "as good and cheaper", 3.0)
    assert (won.stage, won.winner) == (Stage.PROMOTED, "candidate")
    assert stopped(won, "not after all", 4.0).stage is Stage.STOPPED
