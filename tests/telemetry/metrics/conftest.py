from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from counted_jobs import series

from fleet.settings.documents import load_rules
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.families import Distribution


@pytest.fixture
def counts() -> JobCounts:
    targets = load_rules(None, None, "local").catalogue.targets
    return JobCounts(targets, ["llama-8b", "mixtral-8x7b", "gpt-4o"])


Value = Callable[..., Any]


@pytest.fixture
def value(counts: JobCounts) -> Value:
    """The value of one series, or None where there is none."""

    def find(name: str, *labels: str) -> float | Distribution | None:
        return series(list(counts.read())).get((name, labels))

    return find
