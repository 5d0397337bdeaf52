"""`fleet trace`: what happened to a job, from the ledger, on the terminal and at a collector."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from ledger_lines import lines_of
from otlp_sink import OtlpSink

from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.model.attempt import Answer, Attempt, Cached, EngineTimes, Hop, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.experiment import Assignment
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, LedgerStream, Status
from fleet.settings.environment import load
from fleet.telemetry.story import spans_of

JOB = "job-0123456789abcdef"
ANSWER = Answer({}, "stop", Usage(40, 12, 32), "llama-8b", engine=EngineTimes(102.1, 0.4, 0.1, 0.2, 0.4))
FIRST = Attempt(
    1,
    "llama-8b",
    Reason.ROUTED,
    102.0,
    103.0,
    ANSWER,
    0.41,
    0.00001,
    Judged(0.8, OutputKind.SHORT, "c7"),
    provider="fleet",
    requested_model="llama",
    hop=Hop(101.0, 101.5, 2, "00000000000000aa", 8),
)
SECOND = replace(
    FIRST, number=2, target="llama-70b", reason=Reason.LOW_CONFIDENCE, started_at=104.0, ended_at=105.0, confidence=0.97
)
MORE = {"submitted_at": 100.0, "intake": Hop(100.0, 100.5)}
LOW = LedgerEntry(JOB, "demo", Lane.BULK, 103.0, Reason.LOW_CONFIDENCE, "chat", "paid", None, FIRST, **MORE)
END = LedgerEntry(JOB, "demo", Lane.BULK, 105.0, Reason.CONFIDENT, "chat", "paid", Status.SUCCEEDED, SECOND, **MORE)


@pytest.fixture
def told(fake_app):
    """Puts lines into the ledger of the fleet."""
    return lambda *lines: asyncio.run(fake_app.fleet.queue.publish(lines))


@pytest.fixture
def database(fake_app):
    """Writes lines into the ledger's database, where a command looks for it unless it is told another place."""
    engine = engine_for(database_url(load().ledger_address))
    store = LedgerStore(engine, time.time)
    store.open()
    store.follow(LedgerStream("now", 1, 100, 0))
    written = 0

    def write(*lines):
        nonlocal written
        store.write(lines_of(lines, written + 1))
        written += len(lines)

    yield write
    engine.dispose()


def test_the_tree_of_an_escalated_job_is_printed(invoke, told):
    told(LOW, END, replace(END, job_id="job-another-89abcdef"))

    shown = invoke("trace", JOB)

    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"{JOB} of demo, trace ")
    assert [line[27:61].rstrip() for line in lines[1:]] == [
        "process jobs.bulk.{tenant}",
        "  fleet.queue_wait",
        "  fleet.intake",
        "  fleet.queue_wait",
        "  fleet.slot_wait",
        "  chat llama",
        "    fleet.engine.queue",
        "    fleet.engine.prefill",
        "    fleet.engine.decode",
        "  fleet.escalate",
        "  fleet.queue_wait",
        "  fleet.slot_wait",
        "  chat llama",
        "    fleet.engine.queue",
        "    fleet.engine.prefill",
        "    fleet.engine.decode",
        "  send results.{tenant}.{id}",
    ]
    assert "succeeded (confident), 2 attempts, $0.000020" in lines[1]
    assert "1. llama-8b (routed), confidence 0.4100 of 0.8000 needed, 40 (32 cached) + 12 tokens, $0.000010" in lines[6]
    assert "llama-8b → llama-70b: low_confidence" in lines[10]
    assert "micro-batch 00000000000000aa of 8" in lines[5]
    assert "work.llama-8b.bulk.demo, delivery 2" in lines[4]


def test_a_cached_answer_is_told_with_its_source_and_its_age_and_no_tokens(invoke, told):
    cached = Cached("job-of-before-0123", "llama-8b", 102.0 - 7200, Usage(40, 12))
    answer = Answer({}, "stop", Usage(), "m")
    known = Attempt(1, "exact", Reason.CACHED, 102.0, 102.0, answer, cached=cached)
    told(replace(END, reason=Reason.CACHED, attempt=known))
    shown = invoke("trace", JOB).stdout
    assert "1. exact (cached), the answer of llama-8b to job-of-before-0123, 2.0 h old" in shown
    assert "tokens" not in shown


def test_the_arm_of_an_experiment_is_told(invoke, invoke_json, told):
    told(replace(END, assigned=Assignment("smaller-first", "candidate", 0.1)))
    assert "in arm candidate of experiment smaller-first, drawn with 0.1" in invoke("trace", JOB).stdout.split("\n")[1]
    assert invoke_json("trace", JOB)["assigned"]["arm"] == "candidate"


def test_a_program_gets_the_spans_with_their_ids_and_the_names_of_the_conventions(invoke_json, told):
    told(LOW, END)

    found = invoke_json("trace", JOB)

    spans = spans_of([LOW, END])
    assert [each["span_id"] for each in found["spans"]] == [f"{span.span_id:016x}" for span in spans]
    assert (found["ended"], found["sent"], found["spans"][0]["parent_id"]) == (True, False, None)
    assert found["spans"][5]["attributes"]["gen_ai.usage.cache_read.input_tokens"] == 32


def test_export_sends_the_very_same_spans_to_a_collector(invoke, invoke_json, told, monkeypatch):
    told(LOW, END)
    with OtlpSink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url)
        assert invoke_json("trace", JOB, "--export")["sent"] is True
        assert f"{len(spans_of([LOW, END]))} spans sent" in invoke("trace", JOB, "--export").stdout

    expected = [(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.name) for span in spans_of([LOW, END])]
    assert [(span.trace_id.hex(), span.span_id.hex(), span.name) for span in sink.all_spans()] == 2 * expected


def test_a_job_that_has_not_ended_is_shown_and_not_exported(invoke, told, monkeypatch):
    told(LOW)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")

    assert "the job has not ended yet" in invoke("trace", JOB).stdout
    refused = invoke("trace", JOB, "--export")
    assert (refused.exit_code, "has not ended yet" in refused.stderr) == (1, True)


def test_with_a_database_no_stream_is_read_unless_the_database_is_behind(invoke, told, fake_app, database):
    database(LOW, END)
    fake_app.is_up = False
    assert "succeeded (confident), 2 attempts" in invoke("trace", JOB).stdout

    fake_app.is_up = True
    late = replace(END, job_id="job-late-0123456789a")
    database(replace(LOW, job_id=late.job_id))
    told(replace(LOW, job_id=late.job_id), late)
    assert "succeeded (confident), 2 attempts" in invoke("trace", late.job_id).stdout


def test_a_database_that_does_not_answer_is_told_and_the_stream_read(invoke, told, monkeypatch, tmp_path):
    told(LOW, END)
    monkeypatch.setenv("FLEET_LEDGER_URL", f"sqlite:///{tmp_path}/nothing.sqlite3")

    shown = invoke("trace", JOB)

    assert (shown.exit_code, "not the database" in shown.stderr) == (0, True)
    assert "succeeded (confident)" in shown.stdout


def test_a_job_of_which_the_ledger_knows_nothing_is_an_error(invoke, told):
    told(replace(END, job_id="job-another-89abcdef"))

    shown = invoke("trace", JOB)

    assert (shown.exit_code, "the ledger has no line" in shown.stderr) == (1, True)


def test_of_two_tenants_jobs_with_one_id_one_has_to_be_named(invoke, told):
    told(LOW, END, replace(END, tenant="acme"))

    shown = invoke("trace", JOB)

    assert (shown.exit_code, "acme, demo" in shown.stderr) == (1, True)
    assert f"{JOB} of acme" in invoke("trace", JOB, "--tenant", "acme").stdout


def test_no_collector_and_one_that_does_not_answer_are_errors(invoke, told, monkeypatch):
    told(LOW, END)
    missing = invoke("trace", JOB, "--export")
    assert (missing.exit_code, "OTEL_EXPORTER_OTLP_ENDPOINT" in missing.stderr) == (1, True)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    refused = invoke("trace", JOB, "--export")
    assert (refused.exit_code, "http://127.0.0.1:1/v1/traces: Connection refused" in refused.stderr) == (1, True)


def test_nothing_that_a_publisher_or_a_model_says_acts_on_the_terminal(invoke, told):
    hostile = replace(ANSWER, model="\x1b[31mred[/red]")
    told(
        replace(
            END,
            tenant="demo",
            task="[bold]chat",
            attempt=replace(SECOND, requested_model="\x1b[2J[red]", outcome=hostile),
        )
    )

    shown = invoke("trace", JOB)

    assert "\x1b" not in shown.stdout
    assert "[red]" in shown.stdout
