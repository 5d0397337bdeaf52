"""Shows that a job whose trace nobody kept can be traced afterwards, as if it had been kept.

The same jobs are carried twice, one in `ESCALATED` of them up to a second model. The first run exports nothing, and the
traces of some jobs are made of the ledger when all is over; the second run exports every trace when its job ends.
`different` counts the spans of these jobs whose trace id, id, parent, name or decision differ, `orphans` those whose
parent is missing.

    python -m benchmarks.traces [--jobs 100000] [--picked 100] [--json]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from benchmarks.dispatch import BATCH, dispatching, measure, rules_with, submission, until_results
from benchmarks.instant import ANSWER, InstantBackend
from benchmarks.report import show
from fleet.app import apply_topology, open_journal
from fleet.model.attempt import Features, Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.model.result import LedgerEntry
from fleet.model.span import Sampling, trace_id_of
from fleet.telemetry.encoding import readable
from fleet.telemetry.tracing import OtelTracer
from queues.jetstream.client.connection import connect
from queues.jetstream.client.login import ANONYMOUS
from queues.jetstream.desk import JetStreamDesk

ESCALATED = 20
UNSURE = Features(-3.0, -1.5, -2.0, -1.9, -1.8, 2, 0.1, 1.5)

Told = tuple[str, str, str | None, str, str]
"""Trace id, id, parent's id, name and reason of a span."""


class DoubtfulBackend(InstantBackend):
    """Answers at once; one in `ESCALATED` of its answers is not to be trusted, always for the same jobs."""

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        yield [(index, _answer(call)) for index, call in enumerate(calls)]


def _answer(call: Call) -> Outcome:
    return ANSWER if int(call.id.rpartition("-")[2]) % ESCALATED else replace(ANSWER, features=UNSURE)


class Picked(SpanProcessor):
    """Counts spans, and keeps those of the picked jobs' traces."""

    def __init__(self, traces: Collection[int]) -> None:
        self.count = 0
        self.spans: set[Told] = set()
        self._traces = traces

    def on_end(self, span: ReadableSpan) -> None:
        self.count += 1
        if span.context is not None and span.context.trace_id in self._traces:
            self.spans.add(_told(span))


def _told(span: ReadableSpan) -> Told:
    assert span.context is not None
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    reason = str((span.attributes or {}).get("fleet.reason"))
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent, span.name, reason


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--picked", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    picked = [job_id(n * arguments.jobs // arguments.picked) for n in range(arguments.picked)]
    exported, afterwards = measure(carry, arguments.jobs, picked, 0.0)
    everything, then = measure(carry, arguments.jobs, picked, 1.0)
    show(figures(arguments.jobs, picked, exported, afterwards, everything, then), arguments.json)


def figures(
    jobs: int, picked: Sequence[str], exported: int, afterwards: set[Told], everything: int, then: set[Told]
) -> Mapping[str, float]:
    ids = {span for _, span, *_ in afterwards}
    return {
        "jobs": jobs,
        "spans_exported_at_0": exported,
        "spans_exported_at_100": everything,
        "picked_jobs": len(picked),
        "spans_afterwards": len(afterwards),
        "different": len(afterwards ^ then),
        "orphans": sum(parent is not None and parent not in ids for _, _, parent, *_ in afterwards),
    }


def job_id(number: int) -> str:
    return f"traced-{number:012d}"


async def carry(url: str, jobs: int, picked: Sequence[str], share: float) -> tuple[int, set[Told]]:
    """Carry the jobs with this share of traces exported; return how many spans that were, and the picked jobs' spans.

    With a share of 0 those are made of the ledger afterwards.
    """
    await _fill(url, jobs)
    form = partial(readable, resource=Resource({}))
    traces = {trace_id_of(None, "bench", each) for each in picked}
    live, later = Picked(traces), Picked(traces)
    tracer = OtelTracer(Sampling(share, notable=False), form, live)
    others = {"mixtral-8x7b": InstantBackend()}
    watching = await connect(url)
    async with dispatching(url, rules_with(4 * BATCH), DoubtfulBackend(), tracer, others=others):
        await until_results(watching, jobs)
    await watching.close()
    if share:
        return live.count, live.spans
    afterwards = OtelTracer(Sampling(), form, later)
    for lines in (await _lines(url, picked)).values():
        afterwards.export(lines)
    return live.count, later.spans


async def _fill(url: str, jobs: int) -> None:
    await apply_topology(url)
    desk = await JetStreamDesk.connect(url, "bench")
    for start in range(0, jobs, BATCH):
        numbers = range(start, min(start + BATCH, jobs))
        await desk.submit([replace(submission(Lane.STANDARD), id=job_id(number)) for number in numbers])
    await desk.close()


async def _lines(url: str, picked: Sequence[str]) -> Mapping[str, Sequence[LedgerEntry]]:
    wanted, found = set(picked), defaultdict[str, list[LedgerEntry]](list)
    journal = await open_journal(url, ANONYMOUS)
    async for line in journal.ledger("bench"):
        if line.job_id in wanted:
            found[line.job_id].append(line)
    await journal.close()
    return found


if __name__ == "__main__":
    main()
