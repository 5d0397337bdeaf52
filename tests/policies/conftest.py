"""The shipped rules and short ways to say: a job, an attempt, a view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Usage
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.view import Breaker, TargetView, View
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules

SUBMITTED_AT = 1_000.0


@pytest.fixture(scope="session")
def rules() -> Rules:
    """Profile gpu: its contexts leave room for real prompts."""
    return load_rules(None, None, "gpu")


@pytest.fixture(scope="session")
def job() -> Callable[..., Job]:
    def build(task: str = "nudge.recognition", text: str = "Thank Ada Example for the launch.", **changes: Any) -> Job:
        request = {"messages": [{"role": "user", "content": text}], **changes.pop("request", {})}
        plain: dict[str, Any] = {
            "id": "job-0123456789abcdef",
            "tenant": "acme",
            "lane": Lane.STANDARD,
            "plan": Plan.PAID,
            "submitted_at": SUBMITTED_AT,
        }
        return Job(task=task, request=request, **{**plain, **changes})

    return build


@pytest.fixture(scope="session")
def view(rules: Rules) -> Callable[..., View]:
    """Everything available, but for the names in `without`; `open_until` holds open breakers."""

    def build(without: tuple[str, ...] = (), **open_until: float) -> View:
        shut = {name.replace("_", "-"): Breaker(5, 1, at) for name, at in open_until.items()}
        names = [name for name in rules.catalogue.targets if name not in without]
        return View({name: TargetView(breaker=shut.get(name, Breaker())) for name in names})

    return build


@pytest.fixture(scope="session")
def answered() -> Callable[..., Attempt]:
    def build(
        number: int, target: str, confidence: float | None, cost_usd: float = 0.0, at: float = 1_001.0
    ) -> Attempt:
        outcome = Answer({"role": "assistant", "content": "Thank you, Ada."}, "stop", Usage(10, 5), target)
        return Attempt(number, target, Reason.ROUTED, at, at, outcome, confidence, cost_usd)

    return build


@pytest.fixture(scope="session")
def failed() -> Callable[..., Attempt]:
    def build(
        number: int,
        target: str,
        kind: FailureKind = FailureKind.TIMEOUT,
        at: float = 1_001.0,
        retry_after: float | None = None,
    ) -> Attempt:
        return Attempt(number, target, Reason.ROUTED, at, at, Failure(kind, "no reply", retry_after))

    return build


@pytest.fixture(scope="session")
def features() -> Features:
    return Features(sum=-2.0, mean=-0.5, min=-1.0, q10=-0.9, q25=-0.7, count=4, margin=3.0, entropy=0.2)
