"""Who is in which arm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.experiment import CONTROL, Arm, Assignment, Experiment, Stage, Unit
from policies.experiments.assignment import assigned, drawn

TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.1, target="other"),))
DRAWN = [f"tenant-{number}" for number in (19, 22, 23, 34, 42, 53, 54)]
TENANTS = [f"tenant-{number}" for number in range(4_000)]


def members(experiment: Experiment, arm: str = "candidate") -> set[str]:
    return {tenant for tenant in TENANTS if drawn(experiment, tenant).arm == arm}


def with_shares(*shares: float, **changes: object) -> Experiment:
    arms = tuple(Arm(name, share, target="other") for name, share in zip(("candidate", "second"), shares, strict=False))
    return replace(TRIAL, arms=arms, **changes)


def test_a_larger_share_keeps_everyone_who_was_in_the_smaller_one():
    tenth, third, all_of_them = (members(with_shares(share)) for share in (0.1, 0.3, 1.0))
    assert tenth < third < all_of_them == set(TENANTS)
    assert len(tenth) == pytest.approx(400, abs=80)
    assert len(third) == pytest.approx(1_200, abs=120)


def test_a_second_arm_takes_nobody_out_of_the_first_however_either_grows():
    small, large = with_shares(0.1, 0.2), with_shares(0.4, 0.6)
    for arm in ("candidate", "second"):
        assert members(small, arm) < members(large, arm)
    assert members(large, CONTROL) == set()


def test_two_experiments_draw_independently_by_their_salts():
    both = members(TRIAL) & members(replace(TRIAL, salt="another"))
    assert len(both) == pytest.approx(40, abs=25)


def test_the_propensity_is_the_share_of_the_arm(job):
    found = {assigned(job(tenant=tenant), [with_shares(0.1, 0.2)]) for tenant in TENANTS[:200]}
    assert found == {
        Assignment("trial", "candidate", 0.1),
        Assignment("trial", "second", 0.2),
        Assignment("trial", CONTROL, 0.7),
    }


def test_a_conversation_stays_in_its_arm_and_a_job_without_one_takes_no_part(job):
    talks = replace(TRIAL, unit=Unit.CONVERSATION, unit_field="thread")
    found = {assigned(job(metadata={"thread": "t-1"}, id=f"job-{n:016}"), [talks]) for n in range(50)}
    assert len(found) == 1
    assert None not in found
    assert assigned(job(), [talks]) is None


def test_each_job_is_drawn_by_its_id_where_that_is_the_unit(job):
    single = with_shares(0.1, unit=Unit.JOB)
    ids = [f"job-{number:016}" for number in range(2_000)]
    drawn_first, drawn_again = ([assigned(job(id=each), [single]) for each in ids] for _ in range(2))
    assert drawn_first == drawn_again
    assert sum(each.arm == "candidate" for each in drawn_first) == pytest.approx(200, abs=50)


def test_a_job_takes_part_only_where_the_experiment_is(job):
    scoped = replace(TRIAL, tasks=frozenset({"chat"}), tenants=frozenset({"acme"}))
    assert assigned(job("chat"), [scoped]) is not None
    assert assigned(job("chat", tenant="globex"), [scoped]) is None
    assert assigned(job("classify.intent"), [scoped]) is None
    assert assigned(job("chat"), [replace(scoped, stage=Stage.STOPPED)]) is None


def test_a_promoted_arm_has_everybody(job):
    promoted = replace(TRIAL, stage=Stage.PROMOTED, winner="candidate")
    assert assigned(job(), [promoted]) == Assignment("trial", "candidate", 1.0)


def test_the_draw_is_the_same_in_every_process_and_version():
    assert [tenant for tenant in TENANTS[:60] if drawn(TRIAL, tenant).arm == "candidate"] == DRAWN
