"""Arranges what the fleet and its ledger say into the rows that pages print: plain values in, plain values out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from deployments.serve.api import Scaling
from fleet.app import Seen, SpendStatus, TargetStatus
from fleet.app.status import DispatcherState, dispatcher_statuses
from fleet.console import attention
from fleet.console.sources import Today
from fleet.ledger.reading import Sums
from fleet.model.attempt import Answer, Attempt, Failure
from fleet.model.calibration import Calibration, CalibrationKey, Threshold, ThresholdMode
from fleet.model.delivery import WorkOf
from fleet.model.job import Lane
from fleet.model.result import Kept, LedgerEntry, Status
from fleet.model.target import WITHOUT_CALL

ANSWERED = frozenset({Status.SUCCEEDED.value, Status.BEST_EFFORT.value})

MOST_TENANTS = 8
MOST_SERIES = 6
"""Targets that a chart tells apart; all others are one series."""

TONES = {"running": "good", "ready": "good", "cold": "idle", "starting": "fair", "deploying": "fair", "no key": "idle"}
"""The tone of a target by its state; states that are not here are bad, or not known."""

UNKNOWN = frozenset({"unknown", "not deployed"})

NANO = 1e-9

_counts = attrgetter(*(field.name for field in fields(Sums) if field.name != "group"))


def behind(seen: Seen, today: Today | None) -> int | None:
    """Return how many lines of accounts the database has still to take; None where either side is not known."""
    if seen.ledger_sequence is None or today is None:
        return None
    return max(0, seen.ledger_sequence - today.last_seq)


def now(seen: Seen, today: Today | None) -> dict[str, Any]:
    """Return the values of the page `now`."""
    sums = today.sums if today else ()
    answered: Counter[str] = Counter()
    for each in sums:
        if each.group["status"] in ANSWERED:
            answered[each.group["target"]] += each.jobs
    return {
        "figures": _figures(seen, sums if today else None),
        "targets": _targets(seen, answered if today else None),
        "split": _split(sums, answered),
        "spend": spend_rows(seen.status.spend),
        "tenants": _tenants(seen),
        "streams": sorted(seen.status.streams.items()),
        "dispatchers": [
            {
                "name": each.name,
                "where": each.process,
                "state": each.state.value,
                "tone": "good" if each.state is DispatcherState.SERVING else "idle" if each.held == 0 else "fair",
                "held": each.held,
                "cpu_share": each.cpu_share,
                "targets": each.targets,
                "at": seen.at - each.age_seconds,
            }
            for each in dispatcher_statuses(seen.loads, seen.at)
        ],
    }


def _figures(seen: Seen, sums: Sequence[Sums] | None) -> dict[str, float | None]:
    fleet = next((each for each in seen.status.spend if each.tenant is None), None)
    return {
        "jobs": sum(seen.depths.jobs.values()) if seen.status.reachable else None,
        "work": sum(seen.depths.work.values()) if seen.status.reachable else None,
        "ended": None if sums is None else sum(each.jobs for each in sums),
        "spent_usd": None if fleet is None else fleet.spent_usd,
        "limit_usd": None if fleet is None else fleet.limit_usd,
    }


def _targets(seen: Seen, answered: Mapping[str, int] | None) -> list[dict[str, Any]]:
    loads = attention.alive(seen)
    served = {name for load in loads for name in load.serves or ()}
    total = sum(answered.values()) if answered else 0
    return [
        {
            "name": each.name,
            "provider": each.provider,
            "state": each.state,
            "tone": _tone(each),
            "message": each.message,
            "replicas": _replicas(each),
            "bounds": _bounds((seen.scalings or {}).get(each.name)),
            "breaker": each.breaker,
            "served": each.name in served,
            "waiting": {lane.value: seen.depths.work.get(WorkOf(each.name, lane), 0) for lane in Lane},
            "answered": None if answered is None else answered.get(each.name, 0),
            "share": answered[each.name] / total if answered and total and answered.get(each.name) else None,
        }
        for each in seen.status.targets
    ]


def _tone(target: TargetStatus) -> str:
    return "idle" if target.state in UNKNOWN else TONES.get(target.state, "bad")


def _replicas(target: TargetStatus) -> str | None:
    if target.replicas is None:
        return None
    return f"{target.replicas} + {target.starting} starting" if target.starting else str(target.replicas)


def _bounds(scaling: Scaling | None) -> str | None:
    if scaling is None:
        return None
    held = "" if scaling.mode.value in ("autoscaling", "fixed") else f"{scaling.mode}; "
    return f"{held}{scaling.bounds.least} to {scaling.bounds.most}" if scaling.bounds else held.rstrip("; ") or None


def _split(sums: Sequence[Sums], answered: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the targets by the share of today's answers that were theirs, and what all their attempts cost."""
    costs: Counter[str] = Counter()
    for each in sums:
        costs[each.group["target"]] += each.cost_nano_usd
    total, rows, so_far = sum(answered.values()), [], 0.0
    for name, jobs in sorted(answered.items(), key=lambda pair: -pair[1]):
        share = jobs / total
        rows.append(
            {
                "name": name or "no target",
                "jobs": jobs,
                "share": share,
                "from_share": so_far,
                "cost_usd": costs[name] * NANO,
            }
        )
        so_far += share
    return rows


def spend_rows(spend: Sequence[SpendStatus]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.tenant or "The fleet",
            "spent_usd": each.spent_usd,
            "reserved_usd": each.reserved_usd,
            "limit_usd": each.limit_usd,
            "part": each.spent_usd / each.limit_usd if each.limit_usd else 1.0,
            "level": attention.level(each),
        }
        for each in spend
    ]


def _tenants(seen: Seen) -> list[dict[str, Any]]:
    most = sorted(seen.depths.jobs.items(), key=lambda pair: -pair[1])[:MOST_TENANTS]
    return [{"tenant": source.tenant, "lane": source.lane, "jobs": jobs} for source, jobs in most if jobs]


def job(entries: Sequence[LedgerEntry]) -> dict[str, Any]:
    """Return a job by its lines, of which there is one at least."""
    last = entries[-1]
    attempts = [entry.attempt for entry in entries if entry.attempt is not None]
    answers = [attempt.outcome for attempt in attempts if isinstance(attempt.outcome, Answer)]
    ended = next((entry for entry in reversed(entries) if entry.status is not None), last)
    submitted_at = next((entry.submitted_at for entry in entries if entry.submitted_at is not None), None)
    return {
        "job_id": last.job_id,
        "tenant": last.tenant,
        "lane": last.lane,
        "task": last.task,
        "plan": last.plan,
        "status": ended.status,
        "reason": ended.reason,
        "at": ended.at,
        "submitted_at": submitted_at,
        "seconds": None if submitted_at is None else ended.at - submitted_at,
        "cost_usd": sum(attempt.cost_usd for attempt in attempts),
        "input_tokens": sum(answer.usage.input_tokens for answer in answers),
        "output_tokens": sum(answer.usage.output_tokens for answer in answers),
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    judged, outcome, cached = attempt.judged, attempt.outcome, attempt.cached
    has_called = attempt.target not in WITHOUT_CALL
    threshold = judged.threshold if judged and math.isfinite(judged.threshold) else None
    failure = outcome if isinstance(outcome, Failure) else None
    return {
        "target": attempt.target,
        "reason": attempt.reason,
        "probe": attempt.probe,
        "failure": failure and failure.kind,
        "detail": failure and failure.detail,
        "confidence": None
        if attempt.confidence is None or not math.isfinite(attempt.confidence)
        else attempt.confidence,
        "threshold": threshold,
        "is_judged": judged is not None,
        "is_enough": attempt.confidence is not None and threshold is not None and attempt.confidence >= threshold,
        "calibration": judged and judged.calibration,
        "marks": _marks(attempt),
        "cost_usd": attempt.cost_usd,
        "seconds": attempt.ended_at - attempt.started_at,
        "cached": cached,
        "cached_seconds": cached and max(0.0, attempt.started_at - cached.answered_at),
        "tokens": _tokens(outcome) if isinstance(outcome, Answer) and has_called else None,
        "model": outcome.model if isinstance(outcome, Answer) and has_called else None,
        "region": attempt.region,
        "adapter": attempt.adapter,
        "repeated": attempt.repeated,
    }


def _marks(attempt: Attempt) -> str:
    judged = attempt.judged
    if judged is None:
        return ""
    said = (
        judged.guard and f"cascade off: {judged.guard.replace('_', ' ')}",
        "promise withdrawn" if judged.withdrawn else None,
        "unfamiliar task or text" if judged.unfamiliar else None,
    )
    return "; ".join(each for each in said if each)


def _tokens(answer: Answer) -> str:
    usage = answer.usage
    read = f"{usage.cached_input_tokens:,} cached" if usage.cached_input_tokens else ""
    written = f"{usage.cache_write_tokens:,} written to the cache" if usage.cache_write_tokens else ""
    cached = f" ({', '.join(filter(None, (read, written)))})" if read or written else ""
    thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    return f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out{thought}"


def letter(kept: Kept) -> dict[str, Any]:
    """Return what may be shown of a dead letter: who, when and why, and never its body."""
    found = kept.letter
    return {
        "sequence": kept.sequence,
        "at": found.at,
        "tenant": found.tenant,
        "job_id": found.job_id,
        "lane": found.lane,
        "reason": found.reason,
        "problem": found.problem.message,
        "field": found.problem.field,
        "size": len(found.body),
    }


def calibrations(found: Mapping[CalibrationKey, Calibration]) -> list[dict[str, Any]]:
    return [_calibration(key, each) for key, each in sorted(found.items())]


def _calibration(key: CalibrationKey, each: Calibration) -> dict[str, Any]:
    tone, promise, why = _promise(each)
    threshold = each.threshold
    return {
        "target": key.target,
        "adapter": key.adapter or None,
        "family": "all others" if key.family == "*" else key.family,
        "kind": "all others" if key.kind == "*" else key.kind,
        "tone": tone,
        "promise": promise,
        "why": why,
        "threshold": _threshold(threshold),
        "labels": each.labels,
        "good": each.good,
        "ece": each.ece,
        "version": each.version,
        "fitted_at": each.fitted_at,
    }


def _threshold(threshold: Threshold | None) -> str | None:
    if threshold is None:
        return None
    return f"{threshold.value:.3f}" if math.isfinite(threshold.value) else "none is enough"


def _promise(each: Calibration) -> tuple[str, str, str | None]:
    """Return a tone, what is promised, and why no more is."""
    threshold = each.threshold
    if each.withdrawn is not None:
        return "fair", "withdrawn", each.withdrawn
    if each.guard is not None:
        return "idle", "cascade off", each.guard.replace("_", " ")
    if threshold is None or threshold.mode is not ThresholdMode.GUARANTEE:
        return "idle", "none", None if threshold is None else f"threshold by {threshold.mode}"
    if threshold.labels_missing:
        return "fair", "not yet", f"{threshold.labels_missing:,} more labels"
    if threshold.risk is None or threshold.delta is None:
        return "idle", "none", None
    return "good", f"at most {threshold.risk:.1%} wrong answers kept", f"with probability {1 - threshold.delta:.0%}"


def money(by_day: Sequence[Sums], days: int) -> dict[str, Any]:
    """Return totals, and the price of each day by the targets that cost most; sums are by day and target."""
    cost, per_day = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for each in by_day:
        cost[each.group["target"]] += each.cost_nano_usd
        per_day[each.group["day"]][each.group["target"]] += each.cost_nano_usd
    named = [name for name, nano in cost.most_common(MOST_SERIES - 1) if nano]
    rest = bool(set(cost) - set(named)) and sum(cost.values()) > sum(cost[name] for name in named)
    rows = [
        {
            "day": day,
            "cost_usd": sum(found.values()) * NANO,
            "costs": [found[name] * NANO for name in named]
            + ([sum(nano for name, nano in found.items() if name not in named) * NANO] if rest else []),
        }
        for day, found in sorted(per_day.items(), reverse=True)
    ]
    jobs, total = sum(each.jobs for each in by_day), sum(cost.values()) * NANO
    return {
        "days": days,
        "by_day": rows,
        "day_targets": [*named, *(["others"] if rest else [])],
        "total": {
            "cost_usd": total,
            "jobs": jobs,
            "per_thousand_usd": 1000 * total / jobs if jobs else None,
            "attempts": sum(each.attempts for each in by_day),
            "tokens": sum(each.input_tokens + each.output_tokens for each in by_day),
        },
    }


def over_days(sums: Sequence[Sums], by: str) -> list[Sums]:
    """Return the sums of all days together, by one column."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for each in sums:
        found[each.group[by]].append(_counts(each))
    return [Sums({by: value}, *map(sum, zip(*same, strict=True))) for value, same in found.items()]


def grouped(sums: Sequence[Sums], by: str, most: int) -> list[dict[str, Any]]:
    """Return the rows of a table of money by one column, the dearest first; what is beyond `most` is one row."""
    total = sum(each.cost_nano_usd for each in sums)
    ordered = sorted(sums, key=lambda each: (-each.cost_nano_usd, -each.jobs, each.group[by]))
    rows = [
        _money_row(each.group[by].replace("_", " ") if by == "reason" else each.group[by], [each], total)
        for each in ordered[:most]
    ]
    return rows + ([_money_row(f"{len(ordered) - most:,} others", ordered[most:], total)] if ordered[most:] else [])


def _money_row(name: str, sums: Sequence[Sums], total: int) -> dict[str, Any]:
    cost = sum(each.cost_nano_usd for each in sums)
    return {
        "name": name or "none",
        "cost_usd": cost * NANO,
        "share": cost / total if total else None,
        "jobs": sum(each.jobs for each in sums),
        "attempts": sum(each.attempts for each in sums),
        "failures": sum(each.failures for each in sums),
        "input_tokens": sum(each.input_tokens for each in sums),
        "output_tokens": sum(each.output_tokens for each in sums),
    }
