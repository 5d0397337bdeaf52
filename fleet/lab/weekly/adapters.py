"""What adapters that are candidates would have saved, by what their gates found on questions held out from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fleet.lab.weekly.answers import WeekOfAnswers
from fleet.lab.weekly.changes import ALPHA, Change, Kind, Verdict
from fleet.lab.weekly.intervals import Interval, mean_interval
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter

_IMPROVES = "improves"
"""The gate that says how many more answers to a task are right (`fleet.lab.gates.findings`)."""


def adapter_changes(weeks: Sequence[WeekOfAnswers], adapters: Iterable[RegisteredAdapter]) -> Iterator[Change]:
    """Yield what each candidate would have saved, by task; an adapter of some tenants is not asked about.

    The accounts do not tell tenants apart here, and a trial among some of them would be another week than this. Gates
    compare an adapter with its base, so nothing is said where another adapter answers already.
    """
    for adapter in adapters:
        version = adapter.at(Alias.CANDIDATE)
        if version is None or adapter.tenants is not None or version.digest == adapter.aliases.get(Alias.STABLE):
            continue
        for week in weeks:
            is_of = week.target == adapter.target and week.task in adapter.tasks and not week.version
            if is_of and week.doubted.sum() > 1:
                yield _change(week, version)


def _change(week: WeekOfAnswers, version: AdapterVersion) -> Change:
    """Return the change: the share of doubted answers that is newly right need not go on.

    Gates ask questions of jobs that went on or were corrected, so what they find says nothing of all others.
    """
    evidence = version.evidence or {}
    gate = _finding(evidence, week.task)
    above = week.above_usd[week.doubted]
    price = mean_interval(above, 0.0, float(above.max()), ALPHA / 2)
    saved, n = Interval(0.0, 0.0, 0.0), 0
    if gate is not None:
        value, low, high = (len(above) * max(0.0, float(gate[name])) for name in ("value", "low", "high"))
        saved, n = Interval(value * price.value, low * price.low, high * price.high), int(gate["n"])
    verdict = _verdict(version, saved)
    return Change(Kind.ADAPTER, week.target, week.task, verdict, n, saved, lost=0.0, adapter=version.digest)


def _finding(evidence: Mapping[str, Any], task: str) -> Mapping[str, Any] | None:
    """Return what the gate found on the task; None if it was not measured."""
    found = (each for each in evidence.get("gates", ()) if each.get("name") == f"{_IMPROVES}:{task}")
    gate = next(found, None)
    return None if gate is None or None in (gate.get("value"), gate.get("low"), gate.get("high")) else gate


def _verdict(version: AdapterVersion, saved: Interval) -> Verdict:
    if version.evidence is None:
        return Verdict.NOT_TRIED
    if not version.evidence.get("passed"):
        return Verdict.STOPPED
    return Verdict.PROPOSED if saved.low > 0.0 else Verdict.NO_SAVING
