"""The demo counts what really came back: right, wrong, lost, repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_app import App
from memory_fleet import MemoryFleet, attempt, succeeded
from typer.testing import Result as CliResult

from deployments.standins.tasks import TASKS
from fleet.app import TargetStatus
from fleet.cli.demo.asked import CHEAPEST_FIRST, LARGEST_MODEL, SMALL_MODEL, Asked, alone_on, jobs
from fleet.cli.demo.collect import CollectedResults, collect
from fleet.cli.demo.report import DemoReport, alone, report
from fleet.cli.demo.view import telling_examples
from fleet.model.attempt import Failure, FailureKind
from fleet.model.job import Job, Lane, Tier
from fleet.model.reason import Reason
from fleet.model.result import Result
from queues.memory import MemoryDesk

COUNT = 27


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.cli.demo.run.LINGER_SECONDS", 0.01)


def reference(job: Job) -> str:
    return next(one.example.answer for one in ASKED if one.example.messages[-1] == job.request["messages"][-1])


def right(job: Job) -> Result:
    return succeeded(job, reference(job))


def cascade(job: Job) -> Result:
    """Plans and analyses climb to the strong model and come back right; the small model alone gets them wrong."""
    is_hard = job.task.split(".")[0] in ("plan", "recommend", "analyse", "report")
    if not is_hard:
        return right(job)
    if job.request.get("model") == SMALL_MODEL:
        return succeeded(job, "no idea")
    attempts = (
        attempt(1, SMALL_MODEL, "no idea", 0.2),
        attempt(2, "llama-70b", reference(job), 0.95, Reason.LOW_CONFIDENCE),
    )
    return succeeded(job, "", attempts=attempts)


ASKED = jobs(COUNT, seed=1, deadline_seconds=60.0)


class RepeatingDesk(MemoryDesk):
    """Its stream brings every result twice."""

    async def results(self) -> AsyncIterator[Result]:
        async for result in super().results():
            yield result
            yield result


def of(one: Asked) -> Job:
    return Job(
        one.submission.id,
        "demo",
        one.submission.lane,
        one.submission.task,
        one.submission.plan,
        one.submission.request,
        submitted_at=1.0,
    )


def reported(answer: Callable[[Job], Result], asked: Sequence[Asked] = ASKED) -> DemoReport:
    results = {one.submission.id: answer(of(one)) for one in asked}
    return report(asked, CollectedResults(results, duplicates=0, wall_seconds=2.0))


def test_the_demo_asks_an_equal_share_of_every_task_and_mixes_the_lanes() -> None:
    pairs = Counter((one.submission.task, one.submission.lane) for one in ASKED)
    assert pairs == Counter({(task, lane): 1 for task in TASKS for lane in Lane})


def test_one_job_of_four_asks_for_the_smallest_model_first_whatever_its_task() -> None:
    asked = jobs(CHEAPEST_FIRST * len(TASKS), seed=1, deadline_seconds=60.0)
    assert Counter(one.submission.task for one in asked if one.submission.tier is Tier.SIMPLE) == dict.fromkeys(
        TASKS, 1
    )
    assert {one.submission.tier for one in asked} == {None, Tier.SIMPLE}


def test_the_same_seed_asks_the_same_and_another_seed_something_else() -> None:
    assert [one.prompt for one in jobs(9, 1, 60.0)] == [one.prompt for one in ASKED[:9]]
    assert [one.prompt for one in jobs(9, 2, 60.0)] != [one.prompt for one in ASKED[:9]]


def test_the_small_model_is_asked_the_same_and_nothing_may_leave_it() -> None:
    alone = alone_on(SMALL_MODEL, ASKED, 60.0)
    assert [one.prompt for one in alone] == [one.prompt for one in ASKED]
    assert {(one.submission.request["model"], one.submission.cloud) for one in alone} == {(SMALL_MODEL, "deny")}
    assert not {one.submission.id for one in alone} & {one.submission.id for one in ASKED}


def test_the_report_adds_up_by_target() -> None:
    totals = reported(cascade)
    easy, hard = 15, 12
    assert (totals.jobs, totals.results, totals.succeeded, totals.lost, totals.escalated) == (27, 27, 27, 0, hard)
    small, large = totals.by_target[SMALL_MODEL], totals.by_target["llama-70b"]
    assert (small.answered, small.escalated_away, small.correct, small.accuracy) == (easy, hard, easy, 1.0)
    assert (large.answered, large.escalated_away, large.correct, large.accuracy) == (hard, 0, hard, 1.0)
    assert list(totals.by_target) == [SMALL_MODEL, "llama-70b"]
    assert (totals.accuracy, totals.jobs_per_second) == (1.0, 13.5)


def test_a_failed_attempt_is_no_escalation() -> None:
    def recovered(job: Job) -> Result:
        failure = Failure(FailureKind.TIMEOUT, "no answer in 60 s")
        attempts = (
            replace(attempt(1, SMALL_MODEL, "", 0.0), outcome=failure, confidence=None),
            attempt(2, "llama-70b", reference(job), 0.95, Reason.TARGET_FAILED),
        )
        return succeeded(job, "", attempts=attempts)

    totals = reported(recovered)
    small = totals.by_target[SMALL_MODEL]
    assert (totals.escalated, small.answered, small.escalated_away, small.failed_attempts) == (0, 0, 0, COUNT)
    assert small.accuracy is None


def test_a_wrong_or_missing_answer_costs_accuracy() -> None:
    results = {one.submission.id: right(of(one)) for one in ASKED[:18]}
    results[ASKED[0].submission.id] = succeeded(of(ASKED[0]), "no idea")
    totals = report(ASKED, CollectedResults(results, 0, 1.0))
    assert (totals.lost, totals.accuracy) == (9, round(17 / 27, 4))
    assert totals.by_target[SMALL_MODEL].accuracy == round(17 / 18, 4)


@pytest.mark.parametrize(
    ("targets", "missing", "accuracy"),
    [((SMALL_MODEL,), 0, 1.0), ((SMALL_MODEL,), 1, None), ((SMALL_MODEL, "llama-70b"), 0, None)],
)
def test_the_small_model_has_an_accuracy_only_if_it_answered_everything(
    targets: tuple[str, ...], missing: int, accuracy: float | None
) -> None:
    kept = ASKED[missing:]
    results = {
        one.submission.id: succeeded(of(one), one.example.answer, targets[index % len(targets)])
        for index, one in enumerate(kept)
    }
    found = alone(SMALL_MODEL, ASKED, results)
    assert (None if found is None else found.accuracy) == accuracy


def test_the_examples_shown_take_different_ways() -> None:
    results = {one.submission.id: cascade(of(one)) for one in ASKED}
    ways = [len(results[one.submission.id].attempts) for one in telling_examples(ASKED, results)]
    assert ways == [1, 2]


async def test_everything_that_comes_back_is_collected_once() -> None:
    async with MemoryFleet(right).running() as fleet:
        collected = await collect(fleet.desk(), ASKED, 60.0, lambda: None, linger_seconds=0.01)
    assert set(collected.results) == {one.submission.id for one in ASKED}
    assert collected.duplicates == 0


async def test_a_result_that_comes_twice_is_a_duplicate() -> None:
    async with MemoryFleet(right).running() as fleet:
        desk = RepeatingDesk(fleet.broker, "demo")
        collected = await collect(desk, ASKED[:5], 60.0, lambda: None, linger_seconds=0.01)
    assert (len(collected.results), collected.duplicates) == (5, 5)


async def test_a_job_without_a_result_in_time_is_missing() -> None:
    def forget_the_first(job: Job) -> Result | None:
        return None if job.id == ASKED[0].submission.id else right(job)

    seen: list[None] = []
    async with MemoryFleet(forget_the_first).running() as fleet:
        collected = await collect(fleet.desk(), ASKED[:3], 0.5, lambda: seen.append(None), linger_seconds=0.01)
    assert set(collected.results) == {one.submission.id for one in ASKED[1:3]}
    assert len(seen) == 2


KEYS = [
    "jobs",
    "results",
    "succeeded",
    "lost",
    "duplicates",
    "by_target",
    "escalated",
    "accuracy",
    "small_model_accuracy",
    "largest_model_accuracy",
    "cost_usd",
    "small_model_cost_usd",
    "largest_model_cost_usd",
    "wall_seconds",
    "jobs_per_second",
]


def test_the_json_is_one_object_with_these_keys(invoke_json: Callable[..., dict[str, Any]], fake_app: App) -> None:
    fake_app.fleet.answer = cascade
    summary = invoke_json("demo", "--jobs", str(COUNT))
    assert list(summary) == KEYS
    assert set(summary["by_target"][SMALL_MODEL]) == {
        "answered",
        "escalated_away",
        "failed_attempts",
        "correct",
        "accuracy",
    }
    assert (summary["jobs"], summary["results"], summary["lost"], summary["duplicates"]) == (27, 27, 0, 0)
    assert (summary["escalated"], summary["accuracy"]) == (12, 1.0)
    assert summary["small_model_accuracy"] == round(15 / 27, 4)
    assert summary["largest_model_accuracy"] is None, "not all were answered by it"


def test_people_get_a_table_examples_totals_and_notes(invoke: Callable[..., CliResult], fake_app: App) -> None:
    fake_app.fleet.answer = cascade
    lines = [" ".join(line.split()) for line in invoke("demo", "--jobs", str(COUNT)).stdout.splitlines()]
    assert "target answered escalated away failed attempts accuracy" in lines
    assert "llama-8b 15 12 0 100.0%" in lines
    climbed = lines.index("llama-8b confidence 0.2000: not trusted")
    assert lines[climbed + 1] == "llama-70b confidence 0.9500"
    assert "0 lost, 0 duplicates, 12 escalated" in lines
    assert "the fleet 100.0% $0.000000" in lines
    assert "all on llama-8b 55.6% $0.000000" in lines
    assert "all on llama-70b - -" in lines
    assert "note: no cloud keys" in lines
    assert [line.split()[:2] for line in lines[-4:-1]] == [["fleet", "explain"], ["fleet", "submit"], ["fleet", "bulk"]]


def test_a_wrong_answer_is_shown_beside_the_expected_one(invoke: Callable[..., CliResult], fake_app: App) -> None:
    fake_app.fleet.answer = lambda job: succeeded(job, "no idea")
    lines = [" ".join(line.split()) for line in invoke("demo", "--jobs", "1").stdout.splitlines()]
    assert lines[lines.index("answer no idea (wrong)") + 1].startswith("expected ")


@pytest.mark.parametrize(
    ("arguments", "is_up", "calls"),
    [
        ((), False, ["start", "stop"]),
        ((), True, []),
        (("--nats-url", "nats://127.0.0.1:4222"), True, []),
        (("--nats-url", "nats://127.0.0.1:4222"), False, ["start", "stop"]),
    ],
)
def test_a_fleet_that_is_there_is_used_and_otherwise_one_is_started_and_stopped(
    invoke: Callable[..., CliResult],
    fake_app: App,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    is_up: bool,
    calls: list[str],
) -> None:
    monkeypatch.setattr(
        "fake_app.TARGETS", tuple(TargetStatus(name, "fleet", "running", 1, 0) for name in (SMALL_MODEL, LARGEST_MODEL))
    )
    fake_app.fleet.answer = right
    fake_app.is_up = is_up
    assert invoke("demo", "--jobs", "3", *arguments).exit_code == 0
    assert fake_app.calls == calls


def test_a_fleet_of_this_machine_that_runs_other_models_is_left_alone(
    invoke: Callable[..., CliResult], fake_app: App
) -> None:
    fake_app.fleet.answer = right
    assert invoke("demo", "--jobs", "3").exit_code == 0
    assert fake_app.calls == ["start", "stop"]
