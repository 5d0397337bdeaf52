"""`fleet trace`: shows what happened to a job, step by step, made of its lines in the ledger."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fleet.cli.connection import opened
from fleet.cli.output import Output, duration
from fleet.model.errors import FleetError, LedgerUnavailable
from fleet.model.span import Span, Step
from fleet.reports.dollars import price

if TYPE_CHECKING:
    from fleet.model.result import LedgerEntry
    from fleet.settings.environment import Settings


async def trace(settings: Settings, output: Output, job_id: str, tenant: str | None, export: bool) -> None:
    """Show the trace of a job; with `export`, send it to the collector that the OTEL_* variables name as well.

    Raises: FleetError if the ledger has no line of such a job, or of several, or the collector does not take it.
    """
    from fleet.telemetry.story import end_of, spans_of

    lines = await _one_job(settings, output, job_id, tenant)
    spans, ended = spans_of(lines), end_of(lines) is not None
    if export:
        if not ended:
            raise FleetError(f"job {job_id} has not ended yet: export it when it has")
        _export(lines)
    assigned = next((line.assigned for line in lines if line.assigned is not None), None)
    told = {"id": job_id, "tenant": lines[0].tenant, "ended": ended, "assigned": assigned and asdict(assigned)}
    output.object({**told, "spans": _records(spans), "sent": export})
    output.say(f"{job_id} of {lines[0].tenant}, trace {spans[0].trace_id:032x}")
    if assigned is not None:
        output.say(f"in arm {assigned.arm} of experiment {assigned.experiment}, drawn with {assigned.propensity:g}")
    for line in tree(spans):
        output.say(line)
    if not ended:
        output.say("the job has not ended yet")
    if export:
        output.say(f"{len(spans)} spans sent to the collector")


def _export(lines: Sequence[LedgerEntry]) -> None:
    from fleet.telemetry.tracing import send

    send(lines, os.environ)


async def _one_job(settings: Settings, output: Output, job_id: str, tenant: str | None) -> Sequence[LedgerEntry]:
    from fleet.telemetry.story import end_of

    lines = _in_database(settings, output, job_id, tenant)
    if end_of(lines) is None:  # the database may be behind the stream
        lines = [*lines, *await _in_stream(settings, job_id, tenant)]
    tenants = sorted({line.tenant for line in lines})
    if not lines:
        raise FleetError(f"the ledger has no line of a job {job_id}: it is there once a job has run or ended")
    if len(tenants) > 1:
        raise FleetError(f"jobs of {', '.join(tenants)} have this id: name one with --tenant")
    return lines


def _in_database(settings: Settings, output: Output, job_id: str, tenant: str | None) -> Sequence[LedgerEntry]:
    """Return the lines of the job in the ledger's database; none where there is no database, or it does not answer."""
    try:
        from fleet.ledger.reading import open_reader

        with open_reader(settings.ledger_address) as reader:
            return reader.job(tenant, job_id)
    except (LedgerUnavailable, ModuleNotFoundError) as error:
        if settings.ledger_url is not None:
            output.progress(f"reading the stream, not the database: {error}")
        return []


async def _in_stream(settings: Settings, job_id: str, tenant: str | None) -> Sequence[LedgerEntry]:
    """Return the lines of the job in the stream of accounts, which keeps them for 30 days."""
    from fleet.app import open_journal

    async with opened(settings, open_journal) as journal:
        return [line async for line in journal.ledger(tenant, job_id)]


def _records(spans: Sequence[Span]) -> list[dict[str, Any]]:
    from fleet.telemetry.names import translated

    return [
        {
            "name": span.name,
            "trace_id": f"{span.trace_id:032x}",
            "span_id": f"{span.span_id:016x}",
            "parent_id": None if span.parent_id is None else f"{span.parent_id:016x}",
            "started_at": span.started_at,
            "ended_at": span.ended_at,
            "error": span.error,
            "attributes": translated(span.attributes),
        }
        for span in spans
    ]


def tree(spans: Sequence[Span]) -> list[str]:
    """Return a line for each span: when it began after the first, how long it took, and what it was."""
    depths: dict[int | None, int] = {}
    lines = []
    for span in spans:
        depth = depths[span.span_id] = depths.get(span.parent_id, -1) + 1
        began, took = span.started_at - spans[0].started_at, span.ended_at - span.started_at
        what = f"{'  ' * depth}{span.name}"
        lines.append(f"{_milliseconds(began)} {_milliseconds(took)}  {_printable(what):<34}  {_printable(_told(span))}")
    return [line.rstrip() for line in lines]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:>9,.1f} ms"


def _printable(text: str) -> str:
    """Return the text without characters that a terminal would act on: models and publishers choose some of it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _told(span: Span) -> str:
    """Return what a reader wants to know of a step first."""
    said = span.attributes
    match span.step:
        case Step.JOB:
            end = f"{said['status']} ({said['reason']})" if "status" in said else "not ended"
            return f"{end}, {said['attempts']} attempts, {price(float(said['cost_usd']))}"
        case Step.QUEUE_WAIT:
            again = f", delivery {said['deliveries']}" if said["deliveries"] != 1 else ""
            return f"{said['destination']}{again}"
        case Step.INTAKE:
            return f"{said['target']}: {said['reason']}" if "target" in said else str(said["reason"])
        case Step.ESCALATE:
            return f"{said['from_target']} → {said['target']}: {said['reason']}"
        case Step.SLOT_WAIT:
            return f"micro-batch {said['batch']} of {said['batch_size']}" if "batch" in said else ""
        case Step.CALL:
            return _called(span)
        case Step.KNOWN_ANSWER:
            return _known(span)
        case Step.RESULT:
            return f"{said['status']} ({said['reason']})"
        case _:
            return ""


def _known(span: Span) -> str:
    said = span.attributes
    told = f"{said['attempt']}. {said['target']} ({said['reason']})"
    if "cached_job_id" not in said:
        return told
    age = duration(float(said["cached_seconds"]))
    return f"{told}, the answer of {said['cached_target']} to {said['cached_job_id']}, {age} old"


def _called(span: Span) -> str:
    said = span.attributes
    facts = [f"{said['attempt']}. {said['target']} ({said['reason']})"]
    if span.error is not None:
        facts.append(span.error)
    if "confidence" in said:
        held = f" of {said['threshold']:.4f} needed" if "threshold" in said else ""
        facts.append(f"confidence {said['confidence']:.4f}{held}")
    if "input_tokens" in said:
        cached = f" ({said['cached_input_tokens']} cached)" if "cached_input_tokens" in said else ""
        facts.append(f"{said['input_tokens']}{cached} + {said['output_tokens']} tokens")
    facts.append(price(float(said["cost_usd"])))
    return ", ".join(facts)
