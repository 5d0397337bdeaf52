"""A small edition of `python -m benchmarks.chaos`: one kill at each of the most telling steps, then the accounts."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from otlp_sink import OtlpSink

from benchmarks.chaos.audit import Books, judge
from benchmarks.chaos.children import BATCH, submission
from benchmarks.chaos.kills import Plan, Run
from fleet.settings.documents import load_rules

TELLING = ("intake.published", "start.recorded", "runner.answered_paid", "queue.stored", "runner.published")


@pytest.mark.proves(
    "Killing dispatcher, broker or client at any step leaves one result a job and every charge on record", how="real"
)
@pytest.mark.e2e
async def test_whatever_dies_every_job_has_one_result_one_trace_at_most_and_every_charge_is_accounted_for(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, OtlpSink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        run = Run(Plan(rounds=1, minutes=0, jobs=300, seed=1, steps=TELLING), Path(folder))
        verdict, trouble = await run.whole()
    assert (trouble.lost, trouble.duplicates) == ((), ())
    assert verdict.balances, verdict
    assert {kill.cell.process for kill in run.kills} == {"dispatcher", "nats-server", "client"}
    assert {kill.cell.step for kill in run.kills} >= set(TELLING)
    assert verdict.jobs >= 300
    spans = sink.all_spans()
    ids = Counter(span.span_id for span in spans)
    assert ids and set(ids.values()) == {1}, "a repeated step wrote a second span"
    assert {span.parent_span_id for span in spans} - ids.keys() <= {b""}, "a span without its parent"


JOB = submission(8).id
PAID = "gpt-4o"


def books(results=1, calls=(1,), shown=0):
    answered = {submission(index).id: 1 for index in range(BATCH)} | {JOB: results}
    answered = {job: count for job, count in answered.items() if count}
    return Books(
        results=Counter(answered),
        statuses=Counter({}),
        calls=Counter({(JOB, PAID, call): 1 for call in calls}),
        lines=Counter({}),
        shown=Counter({(JOB, PAID): shown}),
        dead=0,
    )


@pytest.mark.parametrize(
    ("found", "charges", "wrong"),
    [
        (books(), 1, None),
        (books(calls=(1, 2), shown=1), 2, None),
        (books(results=0), 1, "lost"),
        (books(results=2), 1, "duplicates"),
        (books(calls=(1,)), 2, "beyond_rule"),
        (books(calls=()), 1, "unrecorded"),
    ],
)
def test_the_audit_finds_what_is_wrong(found, charges, wrong):
    verdict, _ = judge(found, {(JOB, "gpt-4o"): [1.0] * charges}, 1, load_rules(None, None, "local"))
    assert verdict.balances == (wrong is None)
    assert wrong is None or getattr(verdict, wrong) > 0
