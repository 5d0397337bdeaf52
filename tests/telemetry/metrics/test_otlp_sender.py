"""Metrics on their way to an OTLP receiver, good or bad."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from otlp_sink import OtlpSink
from patience import PATIENCE_SECONDS

from fleet.model.errors import ConfigError
from fleet.telemetry.metrics import catalogue, otlp
from fleet.telemetry.metrics.families import Family, Point
from fleet.telemetry.metrics.otlp import OtlpSender, sender_from_environment


class Number:
    """Something to read that counts how often it is read."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> Iterator[Family]:
        self.readings += 1
        yield Family(catalogue.REDELIVERIES, [Point((), self.readings)])


class HeldExporter(MetricExporter):
    """Takes a reading and keeps it until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []
        self.begun = threading.Event()
        self.release = threading.Event()

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        [metric] = metrics_data.resource_metrics[0].scope_metrics[0].metrics
        self.taken.append(metric.data.data_points[0].value)
        self.begun.set()
        self.release.wait(PATIENCE_SECONDS)
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.release.set()

    def force_flush(self, timeout_millis=10_000):
        return True


def sender_to(exporter: MetricExporter) -> OtlpSender:
    return OtlpSender(Number(), exporter, Resource({}), 3600.0)


async def test_a_receiver_that_hangs_keeps_only_the_latest_numbers_waiting():
    exporter = HeldExporter()
    sender = sender_to(exporter)
    sender.hand_over()
    await asyncio.to_thread(exporter.begun.wait, PATIENCE_SECONDS)
    for _ in range(3):
        sender.hand_over()
    exporter.release.set()
    await sender.close()
    assert exporter.taken[0] == 1
    assert exporter.taken[-1] == 5
    assert set(exporter.taken) <= {1, 4, 5}


async def test_a_receiver_that_hangs_holds_up_no_end(monkeypatch):
    monkeypatch.setattr(otlp, "CLOSE_SECONDS", 0.05)
    exporter = HeldExporter()
    sender = sender_to(exporter)
    sender.hand_over()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await sender.close()
    assert exporter.release.is_set(), "the exporter was told to give up"


async def test_an_exporter_that_raises_is_asked_again():
    class Raising(HeldExporter):
        def export(self, metrics_data, timeout_millis=10_000, **kwargs):
            super().export(metrics_data)
            raise RuntimeError("out of order")

    exporter = Raising()
    exporter.release.set()
    sender = sender_to(exporter)
    sender.hand_over()
    await asyncio.to_thread(exporter.begun.wait, PATIENCE_SECONDS)
    await sender.close()
    assert exporter.taken[-1] == 2


async def test_numbers_are_sent_again_and_again_and_once_at_the_end(monkeypatch):
    with OtlpSink() as sink:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRIC_EXPORT_INTERVAL": "10"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        number = Number()
        sender = sender_from_environment(number, environ)
        sending = asyncio.create_task(sender.run())
        found = await asyncio.to_thread(sink.metrics, lambda all_: len(all_) >= 2)
        sending.cancel()
        await sender.close()
        last = sink.metrics(lambda all_: bool(all_))[-1]
    assert len(found) >= 2
    resource = {each.key: each.value.string_value for each in last.resource.attributes}
    assert (resource["service.name"], len(resource["service.instance.id"])) == ("fleet", 36)
    [metric] = last.scope_metrics[0].metrics
    assert (metric.name, metric.sum.data_points[0].as_int) == ("fleet.redeliveries", number.readings)


async def test_a_receiver_that_refuses_is_tried_again_with_the_next_numbers(monkeypatch):
    with OtlpSink() as sink:
        url = sink.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0.1")
    sender = sender_from_environment(Number(), {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    sender.hand_over()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await sender.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_nothing_is_sent_unless_asked_for(environ):
    assert sender_from_environment(Number(), environ) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRICS_EXPORTER", "pigeon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
    ],
)
def test_what_cannot_be_asked_for_is_a_configuration_error(name, value):
    with pytest.raises(ConfigError, match=name):
        sender_from_environment(Number(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})
