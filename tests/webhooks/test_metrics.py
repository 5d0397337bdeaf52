"""What a process that delivers tells Prometheus."""

from __future__ import annotations

from webhook_bench import Bench

from fleet.app.webhooks import webhook_metrics
from fleet.telemetry.metrics.catalogue import GROUPS
from fleet.webhooks.deliverer import OUTCOMES, REASONS


def test_every_series_is_there_from_the_first_scrape_at_0(bench: Bench) -> None:
    attempts, given_up, waiting = webhook_metrics(bench.deliverer())
    assert (attempts.metric, given_up.metric, waiting.metric) == GROUPS["Delivery of webhooks"]
    assert {point.labels for point in attempts.points} == {(outcome,) for outcome in OUTCOMES}
    assert {point.labels for point in given_up.points} == {(reason,) for reason in REASONS}
    assert {point.value for each in (attempts, given_up, waiting) for point in each.points} == {0}
