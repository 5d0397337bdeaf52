"""`fleet submit`, `fleet result`, `fleet cancel` and `fleet feedback`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fleet.cli.connection import open_client
from fleet.cli.output import Output, duration
from fleet.model.attempt import Attempt, Failure
from fleet.model.errors import FleetError, InvalidJob
from fleet.model.feedback import Verdict
from fleet.model.result import Problem, Result
from fleet.model.target import PATTERN
from fleet.reports.dollars import price

if TYPE_CHECKING:
    from fleet.client import FleetClient, JobOptions
    from fleet.settings.environment import Settings

TRACEPARENT = "TRACEPARENT"
"""The variable with the caller's span, in the form of the W3C header."""

LAG_SECONDS = 1.0
"""Seconds that a command looks for a result before it says that there is none."""


async def submit(
    settings: Settings,
    output: Output,
    task: str,
    request: dict[str, Any],
    options: JobOptions,
    wait_seconds: float | None,
) -> None:
    """Submit one job; with `wait_seconds`, show its result. Say so if the id was there already.

    Raises: TimeoutError if there is no result in time.
    """
    from fleet.client import DuplicateJob

    result, is_duplicate = None, False
    with _callers_span(os.environ):
        async with open_client(settings) as client:
            try:
                only_new = options.get("id") is not None
                job_id = await client.submit(task=task, request=request, only_new=only_new, **options)
            except DuplicateJob as error:
                job_id, is_duplicate = error.job_id, True
                output.progress("this id was there already: what was sent now is not run, the result is that job's")
            if wait_seconds is not None:
                result = await client.wait(job_id, timeout_seconds=wait_seconds)
    if result is not None:
        show_result(result, output, is_duplicate)
        return
    output.object({"id": job_id} | ({"duplicate": True} if is_duplicate else {}))
    output.say(job_id)


@contextmanager
def _callers_span(environ: Mapping[str, str]) -> Iterator[None]:
    """Have jobs belong to the trace that TRACEPARENT names, as shells and CI systems hand one to their commands."""
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": environ.get(TRACEPARENT, "")}))
    try:
        yield
    finally:
        context.detach(token)


async def result(settings: Settings, output: Output, job_id: str) -> None:
    """Show a stored result."""
    show_result(await stored_result(settings, job_id), output)


async def stored_result(settings: Settings, job_id: str) -> Result:
    """Return the stored result of a job.

    Raises: FleetError if there is none.
    """
    async with open_client(settings) as client:
        found = await _read(client, job_id)
    if found is None:
        raise FleetError(f"job {job_id} of tenant {settings.tenant} has no result yet: ask again, or check the id")
    return found


async def _read(client: FleetClient, job_id: str) -> Result | None:
    """Wait a moment for the result: another command may have shown it from a server ahead of the one asked now."""
    with suppress(TimeoutError):
        return await client.wait(job_id, timeout_seconds=LAG_SECONDS)
    return None


async def cancel(settings: Settings, output: Output, job_id: str) -> None:
    """Cancel a job and say that it has ended.

    Raises: FleetError if the job had its result; TimeoutError.
    """
    async with open_client(settings) as client:
        cancelled = await client.cancel(job_id)
        ended = await client.result(job_id)
    if not cancelled:
        raise FleetError(f"job {job_id} of tenant {settings.tenant} had its result already: fleet result {job_id}")
    has_begun = ended is not None and bool(ended.attempts)
    output.object({"id": job_id, "cancelled": True, "had_begun": has_begun})
    # Nobody can say whether a job waits that no dispatcher has seen: the answer is the same where there is none.
    unseen = ": it had not begun. If no job of this id is known, one that comes within 24 h will not run"
    output.say(f"{job_id}: cancelled{'' if has_begun else unseen}")


async def feedback(settings: Settings, output: Output, job_id: str, verdict: Verdict, text: str | None) -> None:
    """Store the user's verdict on a job's answer.

    Raises: InvalidFeedback if it breaks a rule.
    """
    async with open_client(settings) as client:
        is_known = await _read(client, job_id) is not None
        await client.feedback(job_id, verdict, text=text)
    output.object({"id": job_id, "verdict": str(verdict), "result_found": is_known})
    unknown = "" if is_known else f" is stored, but tenant {settings.tenant} has no result of this id in the last 24 h"
    output.say(f"{job_id}: {verdict}{unknown}")


def request_of(prompt: str | None, file: Path | None) -> dict[str, Any]:
    """Return the chat request: the prompt as one user message, or the JSON in `file` (- is stdin).

    Raises: InvalidJob if there is none.
    """
    if (prompt is None) == (file is None):
        raise InvalidJob("request", "give either a prompt or --request FILE")
    if file is None:
        return {"messages": [{"role": "user", "content": prompt}]}
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        raise InvalidJob("request", f"{file} must hold JSON in UTF-8") from None
    if not isinstance(request, dict):
        raise InvalidJob("request", f"{file} must hold a JSON object")
    return request


def show_result(result: Result, output: Output, is_duplicate: bool = False) -> None:
    """Show the answer or the problem, then how it came about; in JSON, whether the job was an earlier one."""
    from queues.wire.result import encode_result

    encoded = encode_result(result)
    output.object({**json.loads(encoded), "duplicate": True} if is_duplicate else encoded)
    answer = result.answer.text if result.answer else ""
    output.say(answer or (_told(result.problem) if result.problem else result.reason))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("job", result.job_id)
    facts.add_row("status", f"{result.status} ({result.reason})")
    facts.add_row("path", path_of(result))
    for told in filter(None, (origin_of(attempt, result.job_id) for attempt in result.attempts)):
        facts.add_row("answer", told)
    facts.add_row("cost", price(result.cost_usd))
    output.show("", facts)


def _told(problem: Problem) -> str:
    """Return the message of a problem, with the field and the rule where it does not have them."""
    if problem.rule is None or problem.rule in problem.message:
        return problem.message
    return f"{problem.message}: {problem.field} {problem.rule}"


def path_of(result: Result) -> str:
    """Return the way through the ladder, such as `llama-8b (0.41) → llama-70b (0.97)`."""
    return " → ".join(_step(attempt) for attempt in result.attempts) or "no model was run"


def origin_of(attempt: Attempt, job_id: str) -> str | None:
    """Return whose answer an attempt without a call gave, how old it was, and how to get rid of it."""
    if (cached := attempt.cached) is not None:
        age = duration(max(0.0, attempt.started_at - cached.answered_at))
        rid = f"`fleet feedback {job_id} bad` has the next such job ask a model"
        return f"{cached.target} gave it to {cached.job_id}, {age} before; {rid}"
    if attempt.target == PATTERN:
        return "it is written down in the rules, under `patterns`: without it there, restarted dispatchers ask a model"
    return None


def _step(attempt: Attempt) -> str:
    if isinstance(attempt.outcome, Failure):
        return f"{attempt.target} ({attempt.outcome.kind})"
    return attempt.target if attempt.confidence is None else f"{attempt.target} ({attempt.confidence:.2f})"
