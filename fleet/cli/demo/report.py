"""Sums up the demo's results: pure functions of jobs and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fleet.cli.demo.asked import Asked
from fleet.cli.demo.collect import CollectedResults
from fleet.model.attempt import Answer
from fleet.model.result import Result, Status


@dataclass(frozen=True, slots=True)
class DemoTarget:
    """The share of one target. `answered` jobs ended with its answer; `escalated_away` had one that was not trusted."""

    answered: int
    escalated_away: int
    failed_attempts: int
    correct: int
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Alone:
    """The accuracy and cost of one model that ran all jobs by itself."""

    accuracy: float | None
    cost_usd: float


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The demo's figures. `accuracy` is right answers per job (no answer is wrong); `cost_usd` is for all jobs.

    The same figures for the small and the largest model alone on the same prompts; None if they were not measured.
    `lost` jobs had no result in time.
    """

    jobs: int
    results: int
    succeeded: int
    lost: int
    duplicates: int
    by_target: Mapping[str, DemoTarget]
    escalated: int
    accuracy: float | None
    small_model_accuracy: float | None
    largest_model_accuracy: float | None
    cost_usd: float
    small_model_cost_usd: float | None
    largest_model_cost_usd: float | None
    wall_seconds: float
    jobs_per_second: float | None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def report(
    asked: Sequence[Asked], collected: CollectedResults, small: Alone | None = None, largest: Alone | None = None
) -> DemoReport:
    results = collected.results
    return DemoReport(
        jobs=len(asked),
        results=len(results),
        succeeded=sum(result.status is Status.SUCCEEDED for result in results.values()),
        lost=len(asked) - len(results),
        duplicates=collected.duplicates,
        by_target={name: _target_report(name, asked, results) for name in _targets(results)},
        escalated=sum(bool(_left(result)) for result in results.values()),
        accuracy=_accuracy(asked, results),
        small_model_accuracy=None if small is None else small.accuracy,
        largest_model_accuracy=None if largest is None else largest.accuracy,
        cost_usd=_cost_usd(results),
        small_model_cost_usd=None if small is None else small.cost_usd,
        largest_model_cost_usd=None if largest is None else largest.cost_usd,
        wall_seconds=round(collected.wall_seconds, 3),
        jobs_per_second=_ratio(len(results), collected.wall_seconds),
    )


def alone(model: str, asked: Sequence[Asked], results: Mapping[str, Result]) -> Alone | None:
    """Return the model's figures, or None if a result is missing or another target answered: nothing was measured."""
    targets = {result.target for result in results.values()}
    if len(results) < len(asked) or not targets <= {model}:
        return None
    return Alone(_accuracy(asked, results), _cost_usd(results))


def _cost_usd(results: Mapping[str, Result]) -> float:
    return sum(result.cost_usd for result in results.values())


def _accuracy(asked: Sequence[Asked], results: Mapping[str, Result]) -> float | None:
    return _ratio(sum(one.is_answered_by(results.get(one.submission.id)) for one in asked), len(asked))


def _targets(results: Mapping[str, Result]) -> list[str]:
    """Return the targets in the order in which they stand on the ladders."""
    depth: dict[str, int] = {}
    for result in results.values():
        for rung, attempt in enumerate(result.attempts):
            depth[attempt.target] = max(rung, depth.get(attempt.target, 0))
    return sorted(depth, key=lambda name: (depth[name], name))


def _target_report(name: str, asked: Sequence[Asked], results: Mapping[str, Result]) -> DemoTarget:
    answered = [one for one in asked if (result := results.get(one.submission.id)) and result.target == name]
    correct = sum(one.is_answered_by(results[one.submission.id]) for one in answered)
    attempts = [attempt for result in results.values() for attempt in result.attempts if attempt.target == name]
    return DemoTarget(
        answered=len(answered),
        escalated_away=sum(name in _left(result) for result in results.values()),
        failed_attempts=sum(not isinstance(attempt.outcome, Answer) for attempt in attempts),
        correct=correct,
        accuracy=_ratio(correct, len(answered)),
    )


def _left(result: Result) -> list[str]:
    """Return the targets whose answer was not trusted: nothing else makes a job continue after an answer."""
    return [attempt.target for attempt in result.attempts[:-1] if isinstance(attempt.outcome, Answer)]


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
