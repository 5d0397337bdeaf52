"""The fleet's dashboards, written to the folder `grafana` beside this file.

    python -m deployments.monitoring.dashboards

A series that the catalogue of metrics calls shared is reported alike by every dispatcher: `_shared` takes the maximum.
All else is one process's own: `_sum` adds it up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from deployments.monitoring.panels import (
    Dashboard,
    DashboardVariable,
    Panel,
    PanelKind,
    PanelRow,
    Query,
    Unit,
    document,
)

FOLDER: Final = Path(__file__).with_name("grafana")
RATE: Final = "[$__rate_interval]"
CALL: Final = "gen_ai_client_inference_duration_seconds"
TOKENS: Final = "gen_ai_client_inference_usage"
ONE: Final = 'target=~"$target"'
"""The matcher of the targets that the reader picked."""

ANSWERED: Final = 'outcome="answered"'


def _shared(metric: str, by: str, matchers: str = "") -> Query:
    return Query(f"max by ({by}) ({metric}{{{matchers}}})", _legend(by))


def _sum(metric: str, by: str, matchers: str = "") -> Query:
    return Query(f"sum by ({by}) ({metric}{{{matchers}}})", _legend(by))


def _rate(metric: str, by: str, matchers: str = "") -> Query:
    return Query(f"sum by ({by}) (rate({metric}{{{matchers}}}{RATE}))", _legend(by))


def _whole_rate(metric: str, legend: str, matchers: str = "") -> Query:
    return Query(f"sum(rate({metric}{{{matchers}}}{RATE}))", legend)


def _p99(metric: str, by: str, matchers: str = "") -> Query:
    buckets = f"sum by (le, {by}) (rate({metric}_bucket{{{matchers}}}{RATE}))"
    return Query(f"histogram_quantile(0.99, {buckets})", _legend(by))


def _quantiles(metric: str, matchers: str = "", exemplars: bool = False) -> tuple[Query, ...]:
    buckets = f"sum by (le) (rate({metric}_bucket{{{matchers}}}{RATE}))"
    return tuple(
        Query(f"histogram_quantile({q}, {buckets})", f"p{round(100 * q)}", exemplars) for q in (0.5, 0.95, 0.99)
    )


def _heat(metric: str, matchers: str = "") -> Query:
    return Query(f"sum by (le) (increase({metric}_bucket{{{matchers}}}{RATE}))", "{{le}}")


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


def _tokens(matchers: str = "") -> tuple[Query, ...]:
    kinds = {
        "input_tokens": "input",
        "output_tokens": "output",
        "cache_read_input_tokens": "input, read from a cache",
        "cache_write_input_tokens": "input, written to a cache",
        "reasoning_output_tokens": "output, reasoning",
    }
    return tuple(_whole_rate(f"{TOKENS}_{kind}_total", legend, matchers) for kind, legend in kinds.items())


SPENT: Final = "max by (scope) (fleet_spend_usd)"
LIMIT: Final = "max by (scope) (fleet_spend_limit_usd)"
PROJECTED: Final = f"{SPENT} + (86400 - time() % 86400) * max by (scope) (deriv(fleet_spend_usd[1h]))"

OVERVIEW: Final = Dashboard(
    uid="fleet-overview",
    title="Fleet",
    about="What comes in, what goes out, what waits, and what is wrong.",
    rows=(
        PanelRow(
            "Jobs",
            (
                Panel("Results", (_rate("fleet_jobs_total", "status"),), Unit.PER_SECOND, stacked=True),
                Panel(
                    "Why jobs ended as they did",
                    (_rate("fleet_jobs_total", "reason"),),
                    Unit.PER_SECOND,
                    about="The word in a job's result; docs/reference/wire.md explains each.",
                ),
                Panel("Time to result, 99th percentile", (_p99("fleet_job_seconds", "lane"),), Unit.SECONDS),
                Panel("Jobs that wait for a target", (_shared("fleet_jobs_waiting", "lane"),)),
                Panel("Age of the oldest of them", (_shared("fleet_jobs_oldest_seconds", "lane"),), Unit.SECONDS),
                Panel("Deadlines missed", (_rate("fleet_deadline_missed_total", "lane"),), Unit.PER_SECOND),
            ),
        ),
        PanelRow(
            "Targets",
            (
                Panel(
                    "Share of the answers",
                    (
                        Query(
                            f"sum by (target) (rate(fleet_attempts_total{{{ANSWERED}}}{RATE}))"
                            f" / scalar(sum(rate(fleet_attempts_total{{{ANSWERED}}}{RATE})))",
                            "{{target}}",
                        ),
                    ),
                    Unit.SHARE,
                    stacked=True,
                ),
                Panel("Work that waits or runs", (_shared("fleet_work_waiting", "target"),)),
                Panel("Age of the oldest of it", (_shared("fleet_work_oldest_seconds", "target"),), Unit.SECONDS),
                Panel("In flight", (_sum("fleet_work_in_flight", "target"),), stacked=True),
                Panel("Replicas", (_shared("fleet_replicas", "target"), _shared("fleet_replicas_starting", "target"))),
                Panel(
                    "Breakers open",
                    (_sum("fleet_breaker_open", "target"),),
                    about="How many dispatchers send the target nothing.",
                ),
            ),
        ),
        PanelRow(
            "Trust",
            (
                Panel("Escalations", (_rate("fleet_escalations_total", "reason"),), Unit.PER_SECOND, stacked=True),
                Panel("Promises withdrawn", (_shared("fleet_promise_withdrawn", "target, task, kind"),), Unit.BOOLEAN),
                Panel(
                    "Time to result by target, 99th percentile", (_p99("fleet_job_seconds", "target"),), Unit.SECONDS
                ),
            ),
        ),
        PanelRow(
            "Broker and books",
            (
                Panel("Silence of the broker", (Query("max(fleet_broker_silent_seconds)", "longest"),), Unit.SECONDS),
                Panel(
                    "Messages that came again",
                    (
                        _whole_rate("fleet_redeliveries_total", "again"),
                        _whole_rate("fleet_deferrals_total", "put back on purpose"),
                        _whole_rate("fleet_dead_letters_total", "dead letters"),
                    ),
                    Unit.PER_SECOND,
                    about="What comes again beyond what was put back had lost its dispatcher.",
                ),
                Panel("Lag of the ledger", (Query("max(fleet_ledger_lag_seconds)", "oldest line"),), Unit.SECONDS),
            ),
        ),
    ),
)

ENGINES: Final = (
    "Cache use, preemptions and time per token are vLLM's own: Ray serves them as `ray_vllm_*`, and its dashboard has "
    "panels for them. No number about jobs or money is read from there: Ray drops histograms whose buckets differ "
    "between engines, and keeps the counters of replicas that are gone."
)

MODEL: Final = Dashboard(
    uid="fleet-model",
    title="Fleet: one model",
    about="One target, or a few together.",
    variables=(DashboardVariable("target", "fleet_attempts_total", "target"),),
    rows=(
        PanelRow(
            "Calls",
            (
                Panel("Calls", (_rate("fleet_attempts_total", "outcome", ONE),), Unit.PER_SECOND, stacked=True),
                Panel("Duration of a call", _quantiles(CALL, ONE, exemplars=True), Unit.SECONDS),
                Panel("Wait before it", _quantiles("fleet_queue_seconds", ONE), Unit.SECONDS),
                Panel("Jobs in a batch", (_heat("fleet_batch_size", ONE),), kind=PanelKind.HEATMAP),
                Panel("Tokens", _tokens(ONE), Unit.PER_SECOND),
                Panel(
                    "Price of an hour",
                    (Query(f"3600 * {_rate('fleet_cost_usd_total', 'target', ONE).expr}", "{{target}}"),),
                    Unit.USD,
                ),
            ),
        ),
        PanelRow(
            "Capacity",
            (
                Panel("Work that waits or runs", (_shared("fleet_work_waiting", "lane", ONE),)),
                Panel("Tokens of it", (_shared("fleet_work_waiting_tokens", "lane", ONE),)),
                Panel("Age of the oldest", (_shared("fleet_work_oldest_seconds", "lane", ONE),), Unit.SECONDS),
                Panel("In flight", (_sum("fleet_work_in_flight", "target", ONE),)),
                Panel("Replicas", (_shared("fleet_replicas", "target", ONE),)),
                Panel("Breakers open", (_sum("fleet_breaker_open", "target", ONE),)),
            ),
        ),
        PanelRow(
            "Trust",
            (
                Panel("Confidence", (_heat("fleet_confidence", ONE),), kind=PanelKind.HEATMAP),
                Panel("Escalations", (_rate("fleet_escalations_total", "reason", ONE),), Unit.PER_SECOND, stacked=True),
                Panel(
                    "Calibrations in force",
                    (_shared("fleet_calibration_in_force", "target, task, kind, adapter", ONE),),
                    Unit.BOOLEAN,
                ),
            ),
        ),
        PanelRow(
            "The engine itself", (Panel("vLLM's and Ray's own series", kind=PanelKind.TEXT, width=24, about=ENGINES),)
        ),
    ),
)

MONEY: Final = Dashboard(
    uid="fleet-money",
    title="Fleet: money",
    about="What is spent today, how fast, and on what. These are counters: `fleet cost` reads the books, to the cent.",
    since="now-24h",
    rows=(
        PanelRow(
            "Today (UTC)",
            (
                Panel(
                    "Spent",
                    (Query(SPENT, "{{scope}}"),),
                    Unit.USD,
                    PanelKind.NUMBER,
                    about="Outside the fleet, as its limits count it.",
                ),
                Panel("Limit", (Query(LIMIT, "{{scope}}"),), Unit.USD, PanelKind.NUMBER),
                Panel(
                    "By the end of the day, at the last hour's rate",
                    (Query(PROJECTED, "{{scope}}"),),
                    Unit.USD,
                    PanelKind.NUMBER,
                    about="FleetSpendTooFast fires where this is above the limit.",
                ),
                Panel("Spent of the limit", (Query(f"{SPENT} / {LIMIT}", "{{scope}}"),), Unit.SHARE, width=16),
                Panel(
                    "Jobs that ended as out_of_money",
                    (_whole_rate("fleet_jobs_total", "out_of_money", 'reason="out_of_money"'),),
                    Unit.PER_SECOND,
                ),
            ),
        ),
        PanelRow(
            "On what",
            (
                Panel(
                    "Price of an hour, by target",
                    (Query(f"3600 * {_rate('fleet_cost_usd_total', 'target').expr}", "{{target}}"),),
                    Unit.USD,
                    about="The fleet's own models at their price in the catalogue.",
                    stacked=True,
                ),
                Panel(
                    "Price of a thousand jobs",
                    (
                        Query(
                            f"1000 * sum(rate(fleet_cost_usd_total{RATE})) / sum(rate(fleet_jobs_total{RATE}))",
                            "all targets",
                        ),
                    ),
                    Unit.USD,
                ),
                Panel("Tokens", _tokens(), Unit.PER_SECOND),
                Panel(
                    "In 24 hours",
                    (Query("sum by (target) (increase(fleet_cost_usd_total[24h]))", "{{target}}"),),
                    Unit.USD,
                    PanelKind.TABLE,
                    width=24,
                ),
            ),
        ),
    ),
)

TRACE: Final = (
    "`fleet trace JOB` prints the whole path of a job from the ledger, whether its trace was exported or not: waits, "
    "batches, calls, confidence and threshold, price. `fleet trace JOB --export` sends it to where traces are kept."
)

JOB: Final = Dashboard(
    uid="fleet-job",
    title="Fleet: one job",
    about="From a point of a curve to the job behind it: no series names a job or a tenant, exemplars lead there.",
    since="now-1h",
    variables=(DashboardVariable("target", "fleet_attempts_total", "target"),),
    rows=(
        PanelRow(
            "Each diamond is a job",
            (
                Panel("Time to result", _quantiles("fleet_job_seconds", exemplars=True), Unit.SECONDS, width=12),
                Panel("Duration of a call", _quantiles(CALL, ONE, exemplars=True), Unit.SECONDS, width=12),
                Panel("What to do with it", kind=PanelKind.TEXT, width=24, about=TRACE),
            ),
        ),
    ),
)

DASHBOARDS: Final = {"fleet": OVERVIEW, "model": MODEL, "money": MONEY, "job": JOB}
"""The dashboards by the name of their file."""


def rendered(dashboard: Dashboard) -> str:
    """Return the text of a dashboard's file."""
    return json.dumps(document(dashboard), indent=2) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(rendered(dashboard))


if __name__ == "__main__":
    main()
