"""A real Prometheus scrapes a real run: every query of every dashboard finds its series there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from patience import eventually
from prometheus_server import PrometheusServer

from benchmarks.alerts.pretended import SURE, UNSURE
from benchmarks.alerts.stage import PAID, Stage
from deployments.monitoring.dashboards import DASHBOARDS
from deployments.monitoring.panels import Query
from fleet.telemetry.metrics.discovery import announced

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def queries() -> Iterator[Query]:
    for dashboard in DASHBOARDS.values():
        for row in dashboard.rows:
            for panel in row.panels:
                yield from panel.queries


def filled_in(query: Query) -> str:
    """The expression as Grafana sends it, with every target picked."""
    return query.expr.replace("$__rate_interval", "1m").replace("$target", ".*")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Stage, PrometheusServer]]:
    """A fleet, and a Prometheus that finds its processes by their files."""
    discovery = folder / "discovery"
    async with Stage.open(folder) as stage:
        with (
            announced(discovery, "dispatcher", "127.0.0.1", stage.dispatcher.port),
            announced(discovery, "ledger", "127.0.0.1", stage.writer.port),
        ):
            async with PrometheusServer(folder / "prometheus", discovery) as server:
                yield stage, server


@pytest.mark.proves("Every query of the dashboards finds its series in a real Prometheus", how="real")
@pytest.mark.e2e
async def test_every_query_finds_its_series_and_every_exemplar_its_job(tmp_path: Path) -> None:
    async with watched(tmp_path) as (stage, server):
        for _ in range(2):  # a rate takes two scrapes that differ
            await stage.answer([SURE, UNSURE] * 3, traceparent=TRACEPARENT)
            await stage.answer([SURE], model=PAID, traceparent=TRACEPARENT)
            await eventually(
                lambda: server.query(f"sum(fleet_jobs_total) == {stage.submitted} and count(up == 1) == 2")
            )
        assert server.query("sum(fleet_invented_total)") == []
        assert [query.expr for query in queries() if not server.query(filled_in(query))] == []
        for query in filter(lambda query: query.exemplars, queries()):
            assert TRACE in {exemplar["labels"]["trace_id"] for exemplar in server.exemplars(filled_in(query))}
