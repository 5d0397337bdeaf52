"""The metrics of a `fleet dispatcher`, as Prometheus, an OTLP receiver and a supervisor see them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_server import Manner, Scripted
from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from otlp_sink import OtlpSink
from pages import ROOT, blocks
from patience import eventually
from patient_client import PatientClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import PrometheusServer

from fleet.app import apply_topology
from fleet.telemetry.metrics.catalogue import GROUPS, METRICS, MetricKind

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLOUD_ONLY = {"fleet.replicas", "fleet.replicas_starting"}
"""Metrics without a series where no target is self-hosted."""

OWN = ("Jobs", "Calls of targets", "Queues and targets now", "Money and trust now")
"""The groups of a dispatcher's metrics; every other group is of another process."""

DISPATCHERS = [metric for name in OWN for metric in GROUPS[name]]
SERIES = {name for metric in DISPATCHERS if metric.name not in CLOUD_ONLY for name in metric.series}


@pytest.fixture
async def client(broker):
    await apply_topology(broker.url)
    async with PatientClient.connect(broker.url, tenant="acme") as connected:
        yield connected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


async def address(folder: Path) -> str:
    """Where the one dispatcher says its metrics are, as soon as it does."""
    [file] = await eventually(lambda: list(folder.glob("[!.]*.json")))
    [entry] = json.loads(file.read_text())
    [found] = entry["targets"]
    return found


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return sum(value for (each, has), value in found.items() if each == name and labels.items() <= has)


@contextmanager
def in_trace(traceparent: str) -> Iterator[None]:
    token = attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        detach(token)


def page_queries() -> list[str]:
    """The queries that the page of the metrics shows, each after what it is for."""
    [shown] = [block for block in blocks(ROOT / "docs" / "reference" / "metrics.md") if block.language == "text"]
    return [re.split(r"\s{3,}", line, maxsplit=1)[1] for line in shown.text.splitlines()]


def started(folder: Path, **more: str) -> dict[str, str]:
    return {"FLEET_METRICS_PORT": "0", "FLEET_METRICS_DISCOVERY": str(folder), **more}


async def test_the_first_scrape_has_every_series_at_0(client, plain_dispatcher, folder):
    async with plain_dispatcher(**started(folder)):
        _, text = await asyncio.to_thread(get, f"http://{await address(folder)}/metrics")
    found = values(text)
    assert {name for name, _ in found} == SERIES
    counted = {name for metric in DISPATCHERS if metric.kind is not MetricKind.GAUGE for name in metric.series}
    assert {value for (name, _), value in found.items() if name in counted} == {0.0}
    assert total(found, "fleet_attempts_total", target="gpt-4o-mini", outcome="answered") == 0.0
    assert not list(folder.glob("*.json")), "the dispatcher took its file away when it ended"


async def test_prometheus_finds_a_dispatcher_and_stores_what_it_serves(
    client, plain_dispatcher, folder, tmp_path, fault_server
):
    fault_server.script(Scripted(401))
    async with (
        plain_dispatcher(**started(folder)),
        PrometheusServer(tmp_path / "prometheus", folder) as prometheus,
    ):
        await eventually(lambda: prometheus.query("fleet_jobs_total"))
        with in_trace(f"00-{TRACE}-00f067aa0ba902b7-01"):
            await client.run(task="classify.intent", messages=MESSAGES)
        await eventually(lambda: prometheus.query('fleet_jobs_total{status="succeeded"} > 0'))
        assert prometheus.names() >= SERIES
        [(labels, jobs)] = prometheus.query('sum by (lane) (fleet_jobs_total{status="succeeded"})>0')
        assert (labels, jobs) == ({"lane": "standard"}, 1.0)
        assert prometheus.query('fleet_attempts_total{outcome="authentication"} == 1')
        [(_, cost)] = prometheus.query("sum(fleet_cost_usd_total)")
        assert cost > 0
        found = await eventually(lambda: prometheus.exemplars("fleet_job_seconds_bucket"))
        assert {each["labels"]["trace_id"] for each in found} == {TRACE}
        for query in page_queries():
            prometheus.query(query)  # a server that cannot parse it answers with an error
            assert set(re.findall(r"\b(?:fleet|gen_ai)_\w+", query)) <= prometheus.names()
        [target] = prometheus.targets()
        assert (target["health"], target["labels"]["process"]) == ("up", "dispatcher")


async def test_otlp_gets_the_numbers_that_prometheus_gets(client, plain_dispatcher, folder):
    with OtlpSink() as sink:
        more = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_TRACES_EXPORTER": "none"}
        async with plain_dispatcher(**started(folder, **more)):
            where = await address(folder)
            await asyncio.gather(*(client.run(task="classify.intent", messages=MESSAGES) for _ in range(5)))
            # A job counts once its settlement is confirmed, which may be after its publisher has the result.
            await eventually(lambda: total(values(get(f"http://{where}/metrics")[1]), "fleet_jobs_total") == 5)
            _, text = await asyncio.to_thread(get, f"http://{where}/metrics")
        [last] = sink.metrics(lambda all_: bool(all_))
    sent = {metric.name: metric for metric in last.scope_metrics[0].metrics}
    found = values(text)
    for metric in DISPATCHERS:
        if metric.kind is MetricKind.GAUGE or metric.name in CLOUD_ONLY:
            continue
        if metric.kind is MetricKind.COUNTER:
            points = sent[metric.name].sum.data_points
            numbers = sum(getattr(point, point.WhichOneof("value")) for point in points)
            assert numbers == pytest.approx(total(found, metric.series[0])), metric.name
        else:
            points = sent[metric.name].histogram.data_points
            assert sum(point.count for point in points) == total(found, f"{metric.prometheus_name}_count"), metric.name
            assert sum(point.sum for point in points) == pytest.approx(total(found, f"{metric.prometheus_name}_sum"))


async def test_a_draining_dispatcher_still_answers_scrapes_and_is_not_healthy(
    client, plain_dispatcher, folder, fault_server
):
    fault_server.script(Scripted(manner=Manner.HELD))
    async with plain_dispatcher(**started(folder)) as process:
        where = await address(folder)
        await eventually(lambda: get(f"http://{where}/healthz") == (200, "ok\n"))
        answer = asyncio.create_task(client.run(task="classify.intent", messages=MESSAGES))
        await fault_server.until(received=1)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: get(f"http://{where}/healthz")[0] == 503)
        status, text = await asyncio.to_thread(get, f"http://{where}/metrics")
        assert status == 200
        assert total(values(text), "fleet_work_in_flight", target="gpt-4o-mini") == 1
        fault_server.release()
        await answer
        await process.wait()
    assert process.returncode == 0


async def test_the_ledgers_writer_serves_its_own(client, broker, folder, tmp_path):
    environment = os.environ | started(folder, FLEET_NATS_URL=broker.url, FLEET_DATA_DIR=str(tmp_path / "data"))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "fleet.cli", "ledger", "run", env=environment)
    where = f"http://{await address(folder)}/metrics"
    # Until it has looked at the stream, lines may wait, and nobody knows whether any were lost.
    at_rest = {(metric.series[0], frozenset()): 0.0 for metric in METRICS if "ledger" in metric.name}
    await eventually(lambda: values(get(where)[1]) == at_rest)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_receiver_that_hangs_harms_no_job(client, plain_dispatcher, folder):
    hanging = await asyncio.start_server(lambda reader, writer: asyncio.Event().wait(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}"
    more = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url, "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    async with plain_dispatcher(**started(folder, **more)) as process:
        for _ in range(3):
            await client.run(task="classify.intent", messages=MESSAGES)
        where = await address(folder)
        assert (await asyncio.to_thread(get, f"http://{where}/healthz"))[0] == 200
    hanging.close()
    assert process.returncode == 0
    assert "metrics_not_sent" in process.logs
