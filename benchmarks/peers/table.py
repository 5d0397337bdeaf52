"""Turns rounds into rows and ratios, and refuses a ratio of rounds that differ by more than it can bear."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BEARABLE = 1.5
"""Highest of the rounds' ratios over the lowest, beyond which their median says nothing."""


@dataclass(frozen=True, slots=True)
class Round:
    """One peer in one round; `cpu_us` is the worker's, `beside_us` that of its broker and what else it runs."""

    jobs_per_second: float
    idle_ms: Sequence[float]
    cpu_us: float
    beside_us: float | None


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A peer in the table; what was not measured is None, and `note` says why."""

    peer: str
    jobs_per_second: float | None = None
    jobs_per_second_low: float | None = None
    jobs_per_second_high: float | None = None
    idle_p50_ms: float | None = None
    idle_p99_ms: float | None = None
    cpu_us_per_job: float | None = None
    beside_cpu_us_per_job: float | None = None
    lost: int | None = None
    doubled: int | None = None
    ran_twice: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RateRatio:
    """Fleet's rate over a peer's: the median of the rounds' ratios, or None with a `reason`."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def row_of(peer: str, rounds: Sequence[Round], counts: Mapping[str, int], note: str = "") -> PeerRow:
    """Return the medians of the rounds, with the lowest and the highest rate."""
    if not rounds:
        return PeerRow(peer, note=note, **counts)
    rates = [each.jobs_per_second for each in rounds]
    cuts = [percentiles(each.idle_ms) for each in rounds]
    beside = [each.beside_us for each in rounds if each.beside_us is not None]
    return PeerRow(
        peer,
        statistics.median(rates),
        min(rates),
        max(rates),
        statistics.median(middle for middle, _ in cuts),
        statistics.median(high for _, high in cuts),
        statistics.median(each.cpu_us for each in rounds),
        statistics.median(beside) if beside else None,
        note=note,
        **counts,
    )


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def comparison(fleet: Sequence[float], peer: Sequence[float], note: str = "") -> RateRatio:
    """Compare rates round by round, since what else the machine does changes from one to the next."""
    if not fleet or not peer:
        return RateRatio(None, reason=note or "not measured")
    ratios = [own / other for own, other in zip(fleet, peer, strict=False)]
    low, high = min(ratios), max(ratios)
    if high > BEARABLE * low:
        return RateRatio(None, low, high, f"the rounds differ too much: {low:.2f} to {high:.2f}")
    return RateRatio(statistics.median(ratios), low, high)


def document(
    rows: Sequence[PeerRow],
    calls: Sequence[Mapping[str, Any]],
    ratios: Mapping[str, RateRatio],
    machine: Mapping[str, Any],
    gateway: Mapping[str, float],
) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "rows": [_rounded(asdict(row)) for row in rows],
        **{name: _rounded({"value": ratio.value})["value"] for name, ratio in ratios.items()},
        "ranges": {name: _rounded(asdict(ratio)) for name, ratio in ratios.items()},
        "calls": [_rounded(call) for call in calls],
        "gateway_added_to_client_run": _rounded(gateway),
        "machine": _rounded(machine),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


HEADINGS = ("peer", "jobs/s", "(range)", "p50 ms", "p99 ms", "CPU µs", "beside", "lost", "doubled", "ran twice")


def lines(printed: Mapping[str, Any]) -> list[str]:
    """Return the same for people: a table of the peers, one of the calls, the ratios and the machine."""
    found = _aligned([HEADINGS, *(_cells(row) for row in printed["rows"])])
    found += [f"{row['peer']}: {row['note']}" for row in printed["rows"] if row["note"]]
    if printed["calls"]:
        found += ["", *_aligned([CALL_HEADINGS, *(_call_cells(call) for call in printed["calls"])])]
        found += ["", _gateway_sentence(printed["gateway_added_to_client_run"])]
    found += ["", *(_sentence(name, ratio) for name, ratio in printed["ranges"].items())]
    return [*found, "", ", ".join(f"{name} {value}" for name, value in printed["machine"].items())]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["jobs_per_second_low"], row["jobs_per_second_high"]
    spread = "" if low is None else f"{low:,.0f}-{high:,.0f}"
    rate, *times = (_figure(row[name]) for name in ("jobs_per_second", "idle_p50_ms", "idle_p99_ms"))
    used = (_figure(row[name]) for name in ("cpu_us_per_job", "beside_cpu_us_per_job"))
    return (
        row["peer"],
        rate,
        spread,
        *times,
        *used,
        *(_figure(row[name]) for name in ("lost", "doubled", "ran_twice")),
    )


CALL_HEADINGS = ("one call", "p50 ms", "p99 ms", "added p50", "added p99")


def _call_cells(call: Mapping[str, Any]) -> tuple[str, ...]:
    return (call["way"], *(_figure(call[name]) for name in ("p50_ms", "p99_ms", "added_p50_ms", "added_p99_ms")))


def _gateway_sentence(gateway: Mapping[str, float]) -> str:
    middle, high = (
        f"{gateway[f'{cut}_ms']:.1f} ms ({gateway[f'{cut}_ms_low']:.1f} to {gateway[f'{cut}_ms_high']:.1f}) at {cut}"
        for cut in ("p50", "p99")
    )
    return f"the gateway adds to client.run: {middle}, {high}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def _sentence(name: str, ratio: Mapping[str, Any]) -> str:
    if ratio["value"] is None:
        return f"{name}: none, {ratio['reason']}"
    return f"{name}: {ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
