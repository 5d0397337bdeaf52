"""Each stage of a batch alone: which jobs go on, and with what transition the others leave."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from jobs_in_flight import in_flight

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.maintenance.cancelling import LookedUp
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.runner.batch import BatchRun, RecordedCalls
from fleet.dispatch.runner.stages.cancel import Cancel
from fleet.dispatch.runner.stages.passed import Passed
from fleet.dispatch.runner.stages.reserve_cost import ReserveCost
from fleet.model.action import Run, Wait
from fleet.model.delivery import Ack, Retry, Transition
from fleet.model.money import Refusal
from fleet.model.reason import Reason

TARGET = SimpleNamespace(name="cloud")
CLOCK = SimpleNamespace(now=lambda: 100.0)
STATE = SimpleNamespace(view=lambda: None)


A, B, C, D = jobs = [in_flight(name, "cloud") for name in "abcd"]


def acked(each: InFlightJob) -> Transition:
    return Transition((), Ack(each.delivery))


class Decider:
    """Has every job run here, and writes down the actions that are made transitions."""

    def __init__(self) -> None:
        self.actions = []

    def action(self, each, view, now):
        return Run("cloud", Reason.ROUTED)

    def runs_here(self, action):
        return isinstance(action, Run)

    def transition(self, each, action, now):
        self.actions.append(action)
        return Transition((), Retry(each.delivery))

    def next_transition(self, each, view, now):
        return acked(each)

    def contained(self, each, now, decide):
        return decide()


def cancelling_that_finds(found: LookedUp):
    async def look_up(_: list[InFlightJob]) -> LookedUp:
        return found

    return SimpleNamespace(look_up=look_up)


class Intents:
    async def close(self, ended: list[InFlightJob]) -> list[Transition]:
        return [acked(each) for each in ended]


def cancel_where(found: LookedUp) -> Cancel:
    return Cancel(cancelling_that_finds(found), Intents(), Decider(), STATE, CLOCK)


async def test_what_still_needs_an_answer_passes_as_it_is():
    assert await cancel_where(LookedUp(jobs))(jobs) == Passed(jobs)


async def test_what_is_called_off_or_has_its_result_leaves_and_what_is_unknown_just_comes_back():
    passed = await cancel_where(LookedUp([A], [B], [C], [D]))(jobs)
    assert passed == Passed([A], [acked(B), acked(C)], ANSWER_SECONDS)


def reserve_where(admitted: list[InFlightJob], refused: list[tuple[InFlightJob, Refusal]]):
    async def pay(*_):
        return admitted, refused

    decider = Decider()
    return ReserveCost(TARGET, SimpleNamespace(reserve=pay), decider, STATE, CLOCK), decider


@pytest.mark.parametrize("why", list(Refusal))
async def test_without_money_a_job_that_would_run_here_waits_for_it(why):
    stage, decider = reserve_where([A], [(B, why)])
    passed = await stage([A, B])
    assert passed == Passed([A], [Transition((), Retry(B.delivery))])
    [wait] = decider.actions
    assert (type(wait), wait.target, wait.reason) == (Wait, "cloud", Reason.MONEY_BUSY)


async def test_a_bug_in_a_price_spends_no_money():
    async def pay(*_):
        raise ZeroDivisionError

    stage = ReserveCost(TARGET, SimpleNamespace(reserve=pay), Decider(), STATE, CLOCK)
    assert (await stage([A])).go_on == []


class Watched:
    """What left, what was freed and what was run, in this order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[InFlightJob]]] = []

    async def leave(self, left: Sequence[InFlightJob], transitions: Sequence[Transition], patience: float) -> None:
        self.seen.append(("left", list(left)))

    def free(self, left: Sequence[InFlightJob]) -> None:
        self.seen.append(("freed", list(left)))

    async def run(self, left: Sequence[InFlightJob]) -> None:
        self.seen.append(("run", list(left)))

    def among(self, all_: list[InFlightJob]) -> tuple[list[InFlightJob], list[InFlightJob]]:
        return all_, []


def keeping(*kept: InFlightJob):
    async def stage(given: list[InFlightJob]) -> Passed:
        return Passed([each for each in given if each in kept])

    return stage


async def test_a_batch_passes_the_stages_in_order_and_frees_all_its_slots():
    watched = Watched()
    await BatchRun(TARGET, watched, watched, (keeping(A, B, C), keeping(A, C)), RecordedCalls(watched, watched))(jobs)
    assert watched.seen == [("left", [D]), ("left", [B]), ("run", [A, C]), ("freed", jobs)]


async def test_a_bug_in_a_stage_frees_all_slots_of_its_batch():
    async def buggy(_: list[InFlightJob]) -> Passed:
        raise ZeroDivisionError

    watched = Watched()
    await BatchRun(TARGET, watched, watched, (keeping(A), buggy), RecordedCalls(watched, watched))(jobs)
    assert watched.seen == [("left", [B, C, D]), ("freed", jobs)]
