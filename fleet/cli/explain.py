"""`fleet explain`: shows every decision of a job and the figures behind it."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fleet.cli.jobs import origin_of, stored_result
from fleet.cli.output import Output
from fleet.model.attempt import Answer, Attempt, Failure, Judged, Usage
from fleet.model.diet import Diet
from fleet.model.reason import MEANINGS
from fleet.model.result import Result
from fleet.reports.dollars import price

if TYPE_CHECKING:
    from fleet.settings.environment import Settings


async def explain(settings: Settings, output: Output, job_id: str) -> None:
    """Show how the result of a job came about.

    Raises: FleetError if there is no result.
    """
    found = await stored_result(settings, job_id)
    output.object(explanation(found))
    output.say(f"{found.job_id}  {found.task or ''}")
    for attempt in found.attempts:
        output.show("", _title(attempt), _facts(attempt, found.job_id))
    output.show("", _end(found))


def explanation(result: Result) -> dict[str, Any]:
    """Return the decisions as plain values; an attempt's fields are named as in its ledger entry."""
    return {
        "id": result.job_id,
        "task": result.task,
        "decisions": [_decision(attempt) for attempt in result.attempts],
        "status": result.status.value,
        "reason": result.reason.value,
        "meaning": MEANINGS[result.reason],
        "target": result.target,
        "confidence": result.confidence,
        "cost_usd": result.cost_usd,
        "error": result.problem and result.problem.message,
    }


def _decision(attempt: Attempt) -> dict[str, Any]:
    from queues.wire.attempt import cached_record, features_record, judged_record
    from queues.wire.diet import diet_record

    answer = attempt.outcome if isinstance(attempt.outcome, Answer) else None
    return {
        "attempt": attempt.number,
        "target": attempt.target,
        "region": attempt.region,
        "adapter": attempt.adapter,
        "reason": attempt.reason.value,
        "meaning": MEANINGS[attempt.reason],
        "features": answer and features_record(answer.features),
        "confidence": attempt.confidence,
        **(judged_record(attempt.judged) or _UNJUDGED),
        "probe": attempt.probe,
        "repeated": attempt.repeated,
        **{count.name: answer and getattr(answer.usage, count.name) for count in fields(Usage)},
        "cached": cached_record(attempt.cached),
        "diet": None if attempt.diet is None else diet_record(attempt.diet),
        "failure": attempt.outcome.kind.value if isinstance(attempt.outcome, Failure) else None,
        "cost_usd": attempt.cost_usd,
        "seconds": round(attempt.ended_at - attempt.started_at, 6),
    }


_UNJUDGED = dict.fromkeys(("threshold", "kind", "calibration", "guard", "withdrawn"))


def _title(attempt: Attempt) -> str:
    look = f" (second look: {attempt.probe})" if attempt.probe else ""
    return f"{attempt.number}. {attempt.target}{look}: {attempt.reason}, {MEANINGS[attempt.reason]}"


def _facts(attempt: Attempt, job_id: str) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(width=12, justify="right", style="dim")
    if (origin := origin_of(attempt, job_id)) is not None:
        facts.add_row("answer", origin)
        return facts
    match attempt.outcome:
        case Failure() as failure:
            facts.add_row("failed", f"{failure.kind}: {failure.detail}")
        case Answer() as answer:
            facts.add_row("features", _features(answer))
            facts.add_row("confidence", confidence_of(attempt))
            if attempt.judged is not None:
                facts.add_row("judged by", _judged_by(attempt.judged))
            facts.add_row("tokens", _tokens(answer.usage))
    if attempt.diet is not None:
        facts.add_row("left out", _left_out(attempt.diet))
    if attempt.adapter is not None:
        facts.add_row("adapter", attempt.adapter)
    if attempt.region is not None:
        facts.add_row("region", attempt.region)
    if attempt.repeated:
        facts.add_row("repeated", "a dispatcher began this paid call before and died; both may have been charged")
    seconds = attempt.ended_at - attempt.started_at
    facts.add_row("price", f"{price(attempt.cost_usd)} in {seconds * 1000:,.0f} ms")
    return facts


def _left_out(diet: Diet) -> str:
    messages = sum(stop - start for start, stop in diet.messages)
    parts = (messages and f"{messages} messages", diet.tools and f"{len(diet.tools)} tools")
    told = f"{' and '.join(part for part in parts if part) or 'nothing'}, about {diet.tokens} tokens"
    if diet.answer_tokens:
        told += f"; an answer of at most {diet.answer_tokens} tokens"
    return f"nothing; could be {told}" if diet.shadow else told


def _tokens(usage: Usage) -> str:
    parts = (
        f"{usage.input_tokens} in",
        usage.cached_input_tokens and f"{usage.cached_input_tokens} of them from the cache",
        usage.cache_write_tokens and f"{usage.cache_write_tokens} written to the cache",
        usage.cache_write_1h_tokens and f"{usage.cache_write_1h_tokens} of them for an hour",
        f"{usage.output_tokens} out",
        usage.reasoning_tokens and f"{usage.reasoning_tokens} of them reasoning",
    )
    return ", ".join(part for part in parts if part)


def _features(answer: Answer) -> str:
    if (found := answer.features) is None:
        return "none: no log-probabilities"
    return (
        f"least likely token {_probability(found.min)}, average {_probability(found.mean)},"
        f" margin {found.margin:.2f}, entropy {found.entropy:.2f} over {found.count} tokens"
    )


def _probability(logprob: float) -> str:
    return f"{math.exp(min(logprob, 0.0)):.4f}"


def confidence_of(attempt: Attempt) -> str:
    """Return the confidence in an answer compared with its threshold, such as 0.4100 < 0.7500."""
    if attempt.confidence is None:
        return "not known"
    if (judged := attempt.judged) is None:
        return f"{attempt.confidence:.4f}"
    if judged.unfamiliar and not math.isfinite(judged.threshold):
        return f"{attempt.confidence:.4f}, not used: unfamiliar, always escalates"
    sign = "≥" if attempt.confidence >= judged.threshold else "<"
    threshold = f"{judged.threshold:.4f}" if math.isfinite(judged.threshold) else "any (everything escalates)"
    return f"{attempt.confidence:.4f} {sign} {threshold}"


def _judged_by(judged: Judged) -> str:
    by = f"calibration {judged.calibration}" if judged.calibration else "raw score, not calibrated"
    if judged.unfamiliar:
        by = "raw score: the calibration has seen no such task or text"
    marks = [f"cascade off: {judged.guard}"] if judged.guard else []
    marks += ["guarantee withdrawn"] if judged.withdrawn else []
    return "; ".join([f"{by}, for answers of kind {judged.kind}", *marks])


def _end(result: Result) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("so", f"{result.status}: {result.reason}, {MEANINGS[result.reason]}")
    if result.problem is not None:
        facts.add_row("", result.problem.message)
    if result.target is not None:
        facts.add_row("answer", f"from {result.target}")
    facts.add_row("cost", f"{price(result.cost_usd)} in all")
    return facts
