"""Everything that lets others have a process's metrics, for as long as the process works."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator

import pytest
from otlp_sink import OtlpSink
from prometheus_client.parser import text_string_to_metric_families

from fleet.app.metrics import metrics_of
from fleet.model.errors import ConfigError
from fleet.settings.environment import load
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.families import Family, family


def read() -> Iterator[Family]:
    yield family(catalogue.LEDGER_LINES, {(): 7})


async def test_while_it_works_its_metrics_are_where_its_file_says(tmp_path):
    settings = load(metrics_port=0, metrics_discovery=tmp_path)
    async with metrics_of("ledger", read, lambda: True, settings):
        [file] = tmp_path.glob("*.json")
        [entry] = json.loads(file.read_text())
        url = f"http://{entry['targets'][0]}/metrics"
        text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
    [found] = text_string_to_metric_families(text)
    assert (entry["labels"], found.name, found.samples[0].value) == ({"process": "ledger"}, "fleet_ledger_lines", 7.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        await asyncio.to_thread(urllib.request.urlopen, url)


async def test_a_process_that_gets_no_port_works_all_the_same(tmp_path):
    settings = load(metrics_host="203.0.113.1", metrics_discovery=tmp_path)
    async with metrics_of("ledger", read, lambda: True, settings):
        assert list(tmp_path.iterdir()) == []


async def test_the_last_numbers_are_sent_when_it_ends(tmp_path, monkeypatch):
    with OtlpSink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{sink.url}/v1/metrics")
        async with metrics_of("ledger", read, lambda: True, load(metrics_port=0)):
            pass
        [last] = sink.metrics(lambda all_: bool(all_))
    [metric] = last.scope_metrics[0].metrics
    assert (metric.name, metric.sum.data_points[0].as_int) == ("fleet.ledger_lines", 7)


async def test_an_exporter_nobody_has_is_a_configuration_error(monkeypatch):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "pigeon")
    with pytest.raises(ConfigError, match="OTEL_METRICS_EXPORTER"):
        async with metrics_of("ledger", read, lambda: True, load(metrics_port=0)):
            pass
