"""The list of metrics: names as Prometheus and OpenTelemetry derive them, no tenants, and a page that says the same."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pages import ROOT

from fleet.telemetry.metrics.__main__ import renewed
from fleet.telemetry.metrics.catalogue import LABELS, METRICS, Metric, MetricKind

PAGE = ROOT / "docs" / "reference" / "metrics.md"

every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda each: each.name)


def test_the_page_lists_every_metric_as_it_is() -> None:
    assert PAGE.read_text() == renewed(PAGE.read_text()), "make docs"


def test_no_two_metrics_share_a_series() -> None:
    names = Counter(name for metric in METRICS for name in (metric.prometheus_name, *metric.series))
    doubled = {name for name, count in names.items() if count > 1}
    assert doubled == {each.prometheus_name for each in METRICS if each.kind is MetricKind.GAUGE}


@every_metric
def test_a_name_is_one_that_prometheus_takes_without_quotes(metric: Metric) -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in (*metric.series, *metric.prometheus_labels))
    assert not metric.prometheus_name.endswith(("_total", "_bucket", "_sum", "_count", "_created", "_info"))


@every_metric
def test_no_label_holds_a_tenant_a_job_or_a_person(metric: Metric) -> None:
    assert set(metric.labels) <= set(LABELS)
    assert not {"tenant", "job", "job_id", "person", "user", "trace_id"} & set(metric.prometheus_labels)


@every_metric
def test_only_a_histogram_has_buckets_and_they_rise(metric: Metric) -> None:
    assert bool(metric.bounds) is (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("fleet.jobs", ("fleet_jobs_total",)),
        ("fleet.cost_usd", ("fleet_cost_usd_total",)),
        ("fleet.work_oldest_seconds", ("fleet_work_oldest_seconds",)),
        (
            "gen_ai.client.inference.duration",
            tuple(f"gen_ai_client_inference_duration_seconds_{part}" for part in ("bucket", "sum", "count")),
        ),
    ],
)
def test_prometheus_names_follow_from_opentelemetrys_by_its_rule(name: str, series: tuple[str, ...]) -> None:
    [metric] = [each for each in METRICS if each.name == name]
    assert metric.series == series


def test_the_conventions_buckets_are_theirs() -> None:
    [duration] = [each for each in METRICS if each.name == "gen_ai.client.inference.duration"]
    assert duration.bounds == (
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    )
