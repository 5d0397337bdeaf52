"""The same numbers in Prometheus' text formats and over OTLP, read back by others' parsers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from counted_jobs import JOB, attempt, ended, transition
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Committed
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.span import Step, span_id_of, trace_id_of
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.catalogue import METRICS
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.families import Distribution, Family, Point
from fleet.telemetry.metrics.otlp import metrics_data
from fleet.telemetry.metrics.prometheus import exposition

OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

TRACE_ID = f"{trace_id_of(None, JOB.tenant, JOB.id):032x}"
SPAN_ID = f"{span_id_of(JOB.tenant, JOB.id, Step.JOB):016x}"

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], tuple[float, ...]]
"""The numbers of each series, under its name in Prometheus and its labels."""


@pytest.fixture
def families(counts: JobCounts) -> list[Family]:
    """What was counted of three jobs."""
    failed = attempt(target="gpt-4o", outcome=Failure(FailureKind.TIMEOUT, "slow"), confidence=None, cost_usd=0.0125)
    counts.committed(
        [
            (transition(*ended(attempt())), Committed()),
            (transition(*ended(attempt(ended_at=1802.0))), Committed()),
            (transition(*ended(failed, Status.FAILED, Reason.ALL_FAILED)), Committed()),
        ],
        [True] * 3,
        1003.1,
    )
    counts.batched("llama-8b", 3)
    return list(counts.read())


def without_empty(labels: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset((label, value) for label, value in labels if value)


def numbers_of(families: Iterable[Family]) -> Numbers:
    return {
        (each.metric.prometheus_name, without_empty(zip(each.metric.prometheus_labels, point.labels, strict=True))): (
            (*point.value.counts, point.value.sum) if isinstance(point.value, Distribution) else (point.value,)
        )
        for each in families
        for point in each.points
    }


def scraped(text: str, parse) -> Numbers:
    found: dict[tuple[str, frozenset[tuple[str, str]]], list[float]] = {}
    for family in parse(text):
        for sample in family.samples:
            labels = without_empty((k, v) for k, v in sample.labels.items() if k != "le")
            numbers = found.setdefault((family.name, labels), [])
            if sample.name.endswith("_bucket"):
                numbers.append(sample.value - sum(numbers))
            elif not sample.name.endswith("_count"):
                numbers.append(sample.value)
    return {key: tuple(numbers) for key, numbers in found.items()}


def sent(families: Iterable[Family]) -> Numbers:
    request = encode_metrics(metrics_data(families, Resource({}), 1, 2))
    names = {metric.name: metric.prometheus_name for metric in METRICS}
    found: Numbers = {}
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            labels = frozenset((each.key.replace(".", "_"), each.value.string_value) for each in point.attributes)
            if metric.HasField("histogram"):
                numbers = (*point.bucket_counts, point.sum)
            else:
                numbers = (getattr(point, point.WhichOneof("value")),)
            found[names[metric.name], labels] = numbers
    return found


def text_of(families: Iterable[Family], accept: str) -> str:
    return exposition(families, accept)[0].decode()


@pytest.mark.parametrize(("accept", "parse"), [(OPEN_METRICS, open_metrics), ("", plain_text)])
def test_prometheus_reads_every_number_that_was_counted(families, accept, parse):
    assert scraped(text_of(families, accept), parse) == numbers_of(families)


def test_a_receiver_of_otlp_gets_every_number_that_was_counted(families):
    assert sent(families) == numbers_of(families)


def test_prometheus_and_otlp_say_the_same(families):
    assert scraped(text_of(families, OPEN_METRICS), open_metrics) == sent(families)
    assert sum(map(sum, sent(families).values())) > 0


def test_the_format_is_what_the_scraper_asks_for(families):
    assert exposition(families, OPEN_METRICS)[1].startswith("application/openmetrics-text; version=1.0.0")
    assert exposition(families, "text/html")[1].startswith("text/plain; version=0.0.4")


def test_exemplars_are_in_both(families):
    [times] = [family for family in open_metrics(text_of(families, OPEN_METRICS)) if family.name == "fleet_job_seconds"]
    found = [sample.exemplar for sample in times.samples if sample.exemplar]
    assert [each.labels for each in found] == [{"trace_id": TRACE_ID}] * 2
    request = encode_metrics(metrics_data(families, Resource({}), 1, 2))
    [metric] = [
        each for each in request.resource_metrics[0].scope_metrics[0].metrics if each.name == "fleet.job_seconds"
    ]
    exemplars = [exemplar for point in metric.histogram.data_points for exemplar in point.exemplars]
    assert {(each.trace_id.hex(), each.span_id.hex()) for each in exemplars} == {(TRACE_ID, SPAN_ID)}


def test_help_and_type_are_those_of_the_catalogue(families):
    parsed = {family.name: family for family in open_metrics(text_of(families, OPEN_METRICS))}
    for each in families:
        name = each.metric.prometheus_name
        assert (parsed[name].documentation, parsed[name].type) == (each.metric.help, each.metric.kind.value)


def test_sums_are_cumulative_and_begin_when_counting_began(families):
    request = encode_metrics(metrics_data(families, Resource({}), 1, 2))
    metrics = {each.name: each for each in request.resource_metrics[0].scope_metrics[0].metrics}
    jobs = metrics["fleet.jobs"].sum
    assert (jobs.is_monotonic, jobs.aggregation_temporality) == (True, 2)
    assert {(point.start_time_unix_nano, point.time_unix_nano) for point in jobs.data_points} == {(1, 2)}
    assert metrics["fleet.job_seconds"].histogram.aggregation_temporality == 2


def test_a_label_may_hold_any_character_that_an_operator_writes():
    odd = 'a"b\\c\nd\u2028é'
    families = [Family(catalogue.COST, [Point((odd,), 1.5)])]
    for accept, parse in ((OPEN_METRICS, open_metrics), ("", plain_text)):
        [family] = parse(text_of(families, accept))
        assert [(sample.labels, sample.value) for sample in family.samples] == [({"target": odd}, 1.5)]
    assert sent(families) == {("fleet_cost_usd", frozenset({("target", odd)})): (1.5,)}


def test_a_number_that_is_none_stays_one(families):
    families = [Family(catalogue.BROKER_SILENT, [Point((), math.inf)])]
    assert scraped(text_of(families, OPEN_METRICS), open_metrics) == sent(families)
