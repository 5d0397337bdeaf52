"""docs/how-to/tracing.md shows what `fleet trace` prints, and lists every span and attribute."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_lines import NOON, attempt, entry, job_id, lines_of
from pages import ROOT, blocks

from fleet.cli.trace import tree
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.model.attempt import Answer, Attempt, EngineTimes, Hop, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.model.span import Sampling, Step
from fleet.settings.environment import Settings
from fleet.telemetry.names import ATTRIBUTES, GEN_AI_CONVENTIONS, MESSAGING_CONVENTIONS
from fleet.telemetry.story import spans_of
from fleet.telemetry.tracing import sampling_of

PAGE = ROOT / "docs" / "how-to" / "tracing.md"
TEXT = PAGE.read_text()
FIND, SHOW, SHOWN, VARIABLES, EXPORT = blocks(PAGE)

JOB = "7d1f0c9e5a7b4d2193e8c4aa01b2c3d4"
JUDGED = Judged(0.8, OutputKind.SHORT, "c7")
SMALL = Attempt(
    1,
    "llama-8b",
    Reason.ROUTED,
    100.020,
    100.330,
    Answer({}, "stop", Usage(43, 14, 32), "llama-8b", engine=EngineTimes(100.021, 0.064, 0.004, 0.060, 0.240)),
    0.41,
    0.00001,
    JUDGED,
    requested_model="llama-8b",
    hop=Hop(100.006, 100.009, 1, "5f0e9d8c7b6a5948", 12),
)
LARGE = Attempt(
    2,
    "llama-70b",
    Reason.LOW_CONFIDENCE,
    100.350,
    100.870,
    Answer({}, "stop", Usage(43, 14), "llama-70b"),
    0.97,
    0.000074,
    JUDGED,
    requested_model="llama-70b",
    hop=Hop(100.335, 100.338, 1, "1c7a3b5d9e2f4860", 3),
)


def line(attempt: Attempt, reason: Reason, status: Status | None = None) -> LedgerEntry:
    told = ("nudge.recognition", "paid", status, attempt, 100.0)
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    return LedgerEntry(JOB, "acme", Lane.INTERACTIVE, attempt.ended_at, reason, *told, traceparent, Hop(100.0, 100.004))


def test_the_tree_is_what_the_command_prints() -> None:
    spans = spans_of([line(SMALL, Reason.LOW_CONFIDENCE), line(LARGE, Reason.CONFIDENT, Status.SUCCEEDED)])

    assert SHOWN.text.splitlines() == [f"{JOB} of acme, trace {spans[0].trace_id:032x}", *tree(spans)]


def test_the_query_finds_the_last_failed_jobs_of_a_tenant(tmp_path: Path) -> None:
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))
    store = LedgerStore(engine, lambda: NOON)
    store.open()
    failed = [entry(number, attempt(1), Status.FAILED, reason=Reason.ALL_FAILED) for number in (1, 3)]
    store.write(lines_of([failed[0], entry(2), failed[1], replace(failed[0], tenant="globex")]))
    with engine.connect() as connection:
        found = connection.exec_driver_sql(FIND.text.replace("\n", " ")).all()
    engine.dispose()
    assert found == [(job_id(3), "all_failed"), (job_id(1), "all_failed")]


@pytest.mark.parametrize("block", [SHOW, EXPORT], ids=["show", "export"])
def test_the_commands_name_the_job_that_is_shown(block) -> None:  # type: ignore[no-untyped-def]
    assert block.text.startswith(f"fleet trace {JOB}")


def test_the_variables_keep_the_share_that_the_page_says() -> None:
    environ = dict(re.findall(r"^export (\w+)=(\S+)", VARIABLES.text, re.M))
    fields = Settings.model_fields
    limits = (fields["trace_expensive_usd"].default, fields["notable_traces_per_second"].default)

    assert sampling_of(environ, *limits) == Sampling(0.1, True, True, *limits) == Sampling(0.1)
    assert f"${limits[0]:g} unless set" in TEXT and f"`FLEET_NOTABLE_TRACES_PER_SECOND` ({limits[1]:g})" in TEXT


@pytest.mark.parametrize("name", sorted(ATTRIBUTES.values()))
def test_every_attribute_is_listed(name: str) -> None:
    assert f"`{name}`" in TEXT.split("## Attributes")[1]


@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.JOB, Step.CALL, Step.RESULT)])
def test_every_span_is_listed(step: Step) -> None:
    assert f"`fleet.{step}`" in TEXT.split("## Spans")[1]


def test_the_versions_of_the_conventions_are_those_of_the_names() -> None:
    assert f"version {GEN_AI_CONVENTIONS} of" in TEXT and f"version {MESSAGING_CONVENTIONS} of" in TEXT
