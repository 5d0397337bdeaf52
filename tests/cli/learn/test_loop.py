"""A turn goes on where it was, whatever ended the run before, and can be taken back."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from taught_fleet import DAY, DIGEST, LESSON, WORTH, Fleet, Killed

from fleet.app import read_calibrations, save_calibrations, shipped_calibrations
from fleet.cli.learn.doing import ARM, recalibrate, roll_out
from fleet.cli.learn.loop import advance, begin, undo
from fleet.cli.learn.parts import CommandFailed
from fleet.model.adapter import Alias
from fleet.model.attempt import Answer, Attempt, Judged, Usage
from fleet.model.calibration import Looks, OutputKind
from fleet.model.errors import InvalidTurn
from fleet.model.experiment import Assignment, Stage, Unit
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.model.turn import Turn, TurnStage, TurnStep
from policies.adapters import steps
from policies.experiments import checks
from policies.learning import worth
from queues.memory import MemoryQueue


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


async def under_way(fleet: Fleet) -> Turn:
    """Return a turn in its roll-out."""
    await begin(WORTH, fleet.loop)
    return await advance(await fleet.read(), fleet.loop)


async def aliases(fleet: Fleet) -> dict[Alias, str]:
    [adapter] = (await fleet.adapters.read_all()).values()
    return dict(adapter.aliases)


async def test_a_turn_goes_from_pairs_to_a_roll_out_in_one_run(fleet):
    turn = await under_way(fleet)
    assert [each.step for each in turn.done] == list(TurnStep)[:7]
    registered = ["erased", "check", "register"]
    assert fleet.ran == ["export", "erased", "train", *registered, "try", *registered]
    found = {each.step: each.evidence for each in turn.done}
    assert found[TurnStep.COLLECTED]["pairs"] == 1_200
    assert found[TurnStep.EXPORTED]["rows"] == {"train": 1_100}
    assert (found[TurnStep.TRAINED]["digest"], found[TurnStep.TRAINED]["loss"]) == (DIGEST, 0.05)
    assert found[TurnStep.TRIED]["gates"] == fleet.gates
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert (experiment.name, experiment.unit, experiment.tenants) == (turn.name, Unit.JOB, LESSON.tenants)
    assert [(arm.name, arm.share, arm.adapter) for arm in experiment.arms] == [(ARM, 0.1, DIGEST)]
    assert await aliases(fleet) == {Alias.CANDIDATE: DIGEST}


@pytest.mark.parametrize("command", ["export", "train", "register", "try"])
async def test_a_run_that_is_killed_at_any_step_is_gone_on_with(fleet, command):
    await begin(WORTH, fleet.loop)
    fleet.killed_after = command
    with pytest.raises(Killed):
        await advance(await fleet.read(), fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop)
    assert [each.step for each in turn.done] == list(TurnStep)[:7]
    assert fleet.ran.count("train") == 1
    assert len(await fleet.stores.experiments.read_all()) == 1


async def test_an_export_that_was_cut_off_is_made_again(fleet):
    await begin(WORTH, fleet.loop)
    folder = fleet.loop.place(await fleet.read()) / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("{")
    turn = await advance(await fleet.read(), fleet.loop, most=1)
    assert turn.of(TurnStep.EXPORTED) is not None
    assert not (folder / "train.jsonl").exists()


async def test_one_step_is_done_where_no_more_is_wanted(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=1)
    assert [each.step for each in turn.done] == [TurnStep.COLLECTED, TurnStep.EXPORTED]


async def test_a_gate_that_stops_the_adapter_ends_the_turn_with_nothing_on_trial(fleet):
    fleet.gates = [{"name": "no_harm:chat", "passed": False, "required": True, "why": "60 of 100 worse"}]
    turn = await under_way(fleet)
    assert (turn.stage, turn.why) == (TurnStage.STOPPED, "no_harm:chat: 60 of 100 worse")
    assert await aliases(fleet) == {}
    assert await fleet.stores.experiments.read_all() == {}


async def test_a_version_that_was_removed_in_an_erasure_is_not_registered_again(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=3)
    assert turn.of(TurnStep.REGISTERED) is not None
    [name] = await fleet.adapters.read_all()
    await fleet.adapters.remove(name)
    turn = await advance(turn, fleet.loop)
    assert (turn.stage, turn.why) == (TurnStage.STOPPED, "its version was removed from the registry, as in an erasure")
    assert await fleet.adapters.read_all() == {}


async def test_an_export_that_leaves_nothing_ends_the_turn_and_a_training_that_fails_does_not(fleet):
    await begin(WORTH, fleet.loop)
    fleet.refused = "train"
    with pytest.raises(CommandFailed, match="train: refused"):
        await advance(await fleet.read(), fleet.loop)
    assert (await fleet.read()).stage is TurnStage.RUNNING
    other = Fleet(fleet.loop.folder / "other")
    other.refused = "export"
    assert (await under_way(other)).why == "export: refused"


async def test_calibrations_of_the_trial_are_put_in_force_once_and_none_is_put_over(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=4)
    shipped = next(iter(shipped_calibrations("local").values()))
    own = replace(shipped, key=replace(shipped.key, adapter=DIGEST), version="of-the-trial")
    save_calibrations(fleet.loop.place(turn) / "calibrations.json", [own])
    turn = await advance(turn, fleet.loop, most=1)
    assert turn.done[-1].evidence["versions"] == {str(own.key): "of-the-trial"}
    assert await fleet.stores.calibrations.read_all() == {own.key: own}
    later = replace(own, version="refitted-since")
    await fleet.stores.calibrations.put([later])
    await recalibrate(turn, fleet.loop)
    assert await fleet.stores.calibrations.read_all() == {own.key: later}


async def test_the_trial_is_told_which_tests_of_the_promise_were_made_and_its_own_is_one_more(fleet):
    shipped = next(each for each in shipped_calibrations("local").values() if each.key.target == LESSON.target)
    base = replace(shipped, looks=Looks(3))
    await fleet.stores.calibrations.put([base])
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=4)
    assert read_calibrations(fleet.loop.place(turn) / "in-force.json") == {base.key: base}
    keys = [replace(shipped.key, adapter=digit * 64) for digit in "34"]
    found = [replace(shipped, key=key, looks=Looks(count)) for key, count in zip(keys, (3, 4), strict=True)]
    save_calibrations(fleet.loop.place(turn) / "calibrations.json", found)
    await recalibrate(turn, fleet.loop)
    assert set(await fleet.stores.calibrations.read_all()) == {base.key, keys[1]}


async def test_a_roll_out_that_was_started_and_not_recorded_is_not_started_again(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=5)
    await roll_out(turn, fleet.loop)
    fleet.now += DAY
    assert (await advance(turn, fleet.loop, most=1)).done[-1].step is TurnStep.ROLLED_OUT
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert experiment.started_at == fleet.now - DAY


@pytest.mark.parametrize("steps_done", [1, 2, 3])
async def test_rows_that_are_erased_end_the_turn_before_they_are_learnt_or_registered_again(fleet, steps_done):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=steps_done)
    for name in await fleet.adapters.read_all():  # as an erasure leaves it
        await fleet.adapters.remove(name)
    fleet.ran.clear()
    fleet.erased = [{"file": "train.jsonl", "line": 3}]
    after = await advance(turn, fleet.loop)
    assert (after.stage, after.why) == (TurnStage.STOPPED, "1 rows of its export were erased since")
    assert not {"train", "register"} & set(fleet.ran)
    assert await fleet.adapters.read_all() == {}


async def test_another_adapter_than_was_trained_is_never_registered(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=2)
    fleet.digest = "f" * 64
    after = await advance(turn, fleet.loop)
    assert (after.stage, after.why) == (
        TurnStage.STOPPED,
        "the adapter in its folder is another than was trained: ffffffffffff",
    )
    assert "register" not in fleet.ran


async def test_what_a_turn_does_while_it_is_undone_is_taken_back(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=5)
    await undo(turn, "poisoned", fleet.loop)
    with pytest.raises(InvalidTurn, match="poisoned"):
        await advance(turn, fleet.loop)
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert (experiment.stage, experiment.why) == (Stage.STOPPED, "poisoned")
    assert await aliases(fleet) == {}


async def test_a_step_that_is_recorded_in_the_middle_of_an_undo_is_taken_back_too(fleet):
    await begin(WORTH, fleet.loop)
    turn = await advance(await fleet.read(), fleet.loop, most=5)
    change = fleet.stores.turns.change

    async def first_a_run(step):
        fleet.stores.turns.change = change
        await advance(turn, fleet.loop, most=1)
        return await change(step)

    fleet.stores.turns.change = first_a_run
    assert (await undo(turn, "poisoned", fleet.loop)).stage is TurnStage.UNDONE
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert experiment.stage is Stage.STOPPED


async def test_no_second_turn_begins_for_the_same_jobs(fleet):
    await under_way(fleet)
    await begin(WORTH, fleet.loop)
    assert "under way" in fleet.said[-1]
    assert len(await fleet.stores.turns.read_all()) == 1


async def test_what_is_not_worth_a_turn_begins_none(fleet):
    await begin([worth.Judged(LESSON, "99 pairs of 1,000 wanted")], fleet.loop)
    assert await fleet.stores.turns.read_all() == {}


async def test_a_roll_out_without_proof_waits_and_is_given_up_in_the_end(fleet):
    turn = await under_way(fleet)
    fleet.now += 27 * DAY
    assert (await advance(turn, fleet.loop)).stage is TurnStage.RUNNING
    assert "in its roll-out" in fleet.said[-1]
    fleet.now += 2 * DAY
    after = await advance(turn, fleet.loop)
    assert after.stage is TurnStage.STOPPED
    assert "nothing is shown after 4 weeks" in (after.why or "")
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert experiment.stage is Stage.STOPPED
    assert await aliases(fleet) == {}


async def test_a_roll_out_that_a_guardrail_stopped_ends_the_turn(fleet):
    turn = await under_way(fleet)
    await fleet.stores.experiments.change(lambda there: checks.stopped(there[turn.name], "quality: worse", fleet.now))
    after = await advance(turn, fleet.loop)
    assert after.why == "the roll-out was stopped: quality: worse"
    assert await aliases(fleet) == {}


async def promoted(fleet: Fleet) -> Turn:
    """Return a turn whose arm was promoted by hand, so that its adapter becomes stable."""
    turn = await under_way(fleet)
    await fleet.stores.experiments.change(lambda there: checks.promoted(there[turn.name], ARM, "by hand", fleet.now))
    return await advance(turn, fleet.loop)


def line(turn: Turn, number: int, arm: str) -> LedgerEntry:
    """Return the account of a job that was answered as well in either arm, and for less with the adapter."""
    judged = Judged(0.7, OutputKind.SHORT, calibration="v1")
    usd = 0.0004 if arm == ARM else 0.001
    tried = Attempt(1, "m", Reason.ROUTED, 0.0, 1.0, Answer({}, "stop", Usage(), "m"), 0.96, usd, judged)
    about = (turn.task, "paid", Status.SUCCEEDED, tried, 0.0)
    assigned = Assignment(turn.name, arm, 0.1)
    return LedgerEntry(f"job-{number:016}", "acme", Lane.BULK, 1.0, Reason.CONFIDENT, *about, assigned=assigned)


async def test_what_the_accounts_show_to_be_as_good_and_cheaper_is_promoted(fleet):
    turn, rng = await under_way(fleet), random.Random(1)
    arms = [ARM if rng.random() < 0.1 else "control" for _ in range(2_000)]
    await MemoryQueue(fleet.broker).publish([line(turn, number, arm) for number, arm in enumerate(arms)])
    after = await advance(turn, fleet.loop)
    assert after.stage is TurnStage.PROMOTED
    found = after.done[-1].evidence
    assert found["usd_per_job"] == {ARM: pytest.approx(0.0004), "control": pytest.approx(0.001)}
    assert all(each["evidence"] >= each["needed"] for each in found["shown"].values())
    assert await aliases(fleet) == {Alias.STABLE: DIGEST}


async def test_what_is_shown_becomes_stable_and_its_experiment_ends(fleet):
    turn = await promoted(fleet)
    assert turn.stage is TurnStage.PROMOTED
    assert await aliases(fleet) == {Alias.STABLE: DIGEST}
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert (experiment.stage, experiment.why) == (Stage.STOPPED, "it is stable now")


async def test_a_promotion_that_was_cut_off_is_finished(fleet):
    turn = await under_way(fleet)
    change, calls = fleet.stores.experiments.change, []

    async def cut_off(step):
        calls.append(step)
        if len(calls) == 2:
            raise Killed
        return await change(step)

    await change(lambda there: checks.promoted(there[turn.name], ARM, "by hand", fleet.now))
    calls.append(None)
    fleet.stores.experiments.change = cut_off  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await advance(turn, fleet.loop)
    assert await aliases(fleet) == {Alias.STABLE: DIGEST}
    fleet.stores.experiments.change = change  # type: ignore[method-assign]
    assert (await advance(turn, fleet.loop)).stage is TurnStage.PROMOTED
    assert await aliases(fleet) == {Alias.STABLE: DIGEST}


@pytest.mark.parametrize("far", [under_way, promoted])
async def test_undoing_a_turn_lets_the_base_answer_again(fleet, far):
    turn = await far(fleet)
    after = await undo(turn, "complaints", fleet.loop)
    assert (after.stage, after.why, after.done) == (TurnStage.UNDONE, "complaints", turn.done)
    assert await aliases(fleet) == {}
    [experiment] = (await fleet.stores.experiments.read_all()).values()
    assert experiment.stage is Stage.STOPPED
    with pytest.raises(InvalidTurn, match="undone before"):
        await undo(after, "again", fleet.loop)


async def test_no_roll_back_brings_the_version_of_an_undone_turn_again(fleet):
    turn = await promoted(fleet)
    later = replace((await fleet.adapters.read_all())[turn.name].versions[0], digest="f" * 64)
    there = await fleet.adapters.change(lambda there: steps.registered(there, there[turn.name], later, fleet.now))
    await fleet.adapters.change(lambda _: steps.promoted(there, later.digest, [], "better", fleet.now))
    assert await aliases(fleet) == {Alias.STABLE: later.digest, Alias.PREVIOUS: DIGEST}
    await undo(turn, "poisoned", fleet.loop)
    assert await aliases(fleet) == {Alias.STABLE: later.digest}


async def test_the_next_turn_of_a_task_waits_a_week_and_takes_the_adapters_name(fleet):
    await promoted(fleet)
    await begin(WORTH, fleet.loop)
    assert "within a week" in fleet.said[-1]
    fleet.now += 8 * DAY
    await begin(WORTH, fleet.loop)
    assert len(await fleet.stores.turns.read_all()) == 2
