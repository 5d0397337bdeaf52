"""The stage that judges outcomes, alone: what is booked and learned, and what a bug costs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from jobs_in_flight import in_flight

from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.runner.stages.assess import Assess
from fleet.dispatch.runner.stages.diet import Diets
from fleet.dispatch.state.traffic import Traffic
from fleet.model.attempt import Answer, Failure, FailureKind, Outcome, Usage
from fleet.model.delivery import Ack, Retry, Transition
from fleet.settings.documents import load_rules

RULES = load_rules(None, None, "local")
TARGET = RULES.catalogue.targets["llama-8b"]
ANSWER = Answer({"role": "assistant", "content": "yes"}, "stop", Usage(3, 1), "llama")
BUSY = Failure(FailureKind.OVERLOADED, "busy")

BATCH = MicroBatch(3.0, "0123456789abcdef", 2)

A, B = jobs = [in_flight(name, TARGET.name) for name in "ab"]


class Stage:
    """An `Assess` whose collaborators write down what they are told; a job in `buggy` meets a bug when decided on."""

    def __init__(self) -> None:
        self.settled: list[tuple[InFlightJob, Outcome]] = []
        self.recorded: list[Outcome] = []
        self.left: list[tuple[list[InFlightJob], list[Transition], float]] = []
        self.decided: list[InFlightJob] = []
        self.buggy: list[InFlightJob] = []
        clock = SimpleNamespace(now=lambda: 5.0)
        knowledge = SimpleNamespace(judge=lambda *_: (0.75, None))
        self.traffic = Traffic([TARGET], RULES.estimates)
        self.precedence = Precedence()
        adapters = SimpleNamespace(observe=lambda *_: None)
        judging = (knowledge, self, self, self.precedence, Diets(lambda _: RULES), adapters)
        self.run = Assess(TARGET, RULES, clock, self, self, *judging)

    def settle(self, inflight: InFlightJob, outcome: Outcome, target: object) -> None:
        self.settled.append((inflight, outcome))

    def passed(self, *_: object) -> None: ...

    def view(self) -> None: ...

    def record(self, target: object, outcome: Outcome, *_: object) -> None:
        self.recorded.append(outcome)

    def action_after(self, tried: InFlightJob, view: object, now: float) -> str:
        if any(tried.job is each.job for each in self.buggy):
            raise ZeroDivisionError
        self.decided.append(tried)
        return "goes on"

    def transition(self, tried: InFlightJob, action: str, now: float) -> Transition:
        return Transition((), Ack(tried.delivery))

    def broken(self, inflight: InFlightJob, error: BaseException, now: float) -> Transition:
        return Transition((), Retry(inflight.delivery))

    async def leave(self, left: Sequence[InFlightJob], transitions: Sequence[Transition], patience: float) -> None:
        self.left.append((list(left), list(transitions), patience))


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_every_outcome_is_booked_and_learned_from_before_anything_is_decided(stage: Stage) -> None:
    await stage.run([(A, ANSWER), (B, BUSY)], BATCH)

    assert stage.settled == [(A, ANSWER), (B, BUSY)]
    assert stage.recorded == [ANSWER, BUSY]
    attempts = [each.fresh for each in stage.decided]
    assert [(each.number, each.target, each.started_at, each.ended_at) for each in attempts] == [
        (1, "llama-8b", 3.0, 5.0)
    ] * 2
    assert [(each.outcome, each.confidence) for each in attempts] == [(ANSWER, 0.75), (BUSY, None)]
    assert {(each.hop.stored_at, each.hop.deliveries, each.hop.batch, each.hop.batch_size) for each in attempts} == {
        (1.0, 1, BATCH.id, 2)
    }
    assert {(each.provider, each.requested_model) for each in attempts} == {(TARGET.provider, TARGET.model)}
    transitions = [Transition((), Ack(each.delivery)) for each in jobs]
    assert stage.left == [(jobs, transitions, ANSWER_SECONDS)]


async def test_a_job_that_meets_a_bug_fails_alone(stage: Stage) -> None:
    stage.buggy = [A]
    await stage.run([(A, ANSWER), (B, ANSWER)], BATCH)
    [(left, transitions, _)] = stage.left
    assert left == jobs
    assert transitions == [Transition((), Retry(A.delivery)), Transition((), Ack(B.delivery))]


async def test_jobs_that_cannot_be_concluded_leave_all_the_same_and_come_back_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stage, "record", fail)
    await stage.run([(A, ANSWER), (B, ANSWER)], BATCH)
    assert stage.left == [(jobs, [], ANSWER_SECONDS)]


async def test_a_usage_that_the_call_cannot_have_had_is_not_believed(stage: Stage) -> None:
    impossible = Answer(ANSWER.message, "stop", Usage(-40_000_000, 1), "llama")
    await stage.run([(A, impossible)], BATCH)
    [(_, booked)] = stage.settled
    assert booked.usage == Usage()
