"""Shows simulations as tables for people, from their JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Found = Mapping[str, Any]


def view(found: Found) -> Iterator[RenderableType]:
    """Yield the figures of one simulation."""
    yield Text(f"{found['title']}: {found['jobs']:,} jobs in {_hours(found['simulated_seconds'])}", style="bold")
    # Minutes say nothing of a month.
    month = f", ${found['month_usd']:,.0f} a month at this pace" if found["simulated_seconds"] >= 3600 else ""
    yield f"${found['cost_usd']:,.2f} (machines ${found['own_usd']:,.2f}, calls ${found['paid_usd']:,.2f}){month}"
    yield (
        f"{found['quality']:.1%} right, {found['deadline_misses']:,} deadlines missed, "
        f"{found['attempts_per_job']:.2f} attempts a job; {_counts(found['statuses'])}"
    )
    if found["overloaded"]:
        yield f"{found['overloaded']:,} sent on because a target was overloaded, for ${found['overloaded_usd']:,.2f}"
    if found["without_call"]:
        yield f"answered without a call: {_counts(found['without_call'])}"
    yield from _left_out(found)
    yield ""
    yield _lanes(found["lanes"])
    yield ""
    yield _targets(found)
    yield ""
    yield f"{found['seconds']:.1f} s, {1e6 * found['seconds'] / found['jobs']:.0f} µs a job, {found['rss_mb']:.0f} MiB"


def _left_out(found: Found) -> Iterator[str]:
    """Yield a warning where rules and scenario do not fit together: figures without a target mislead."""
    if found["left_out"]:
        yield f"left out of {found['title']}, being on ladders and not in the scenario: {', '.join(found['left_out'])}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 100 else f"{seconds:,.0f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _lanes(lanes: Mapping[str, Found]) -> Table:
    table = _table("lane", "jobs", "wait p50", "p95", "p99 s", "result p50", "p95", "p99 s", "missed")
    for lane, each in lanes.items():
        times = (each[f"{what}_p{share}_seconds"] for what in ("wait", "time") for share in (50, 95, 99))
        table.add_row(lane, f"{each['jobs']:,}", *map(_seconds, times), f"{each['deadline_misses']:,}")
    return table


def _targets(found: Found) -> Table:
    table = _table("target", "attempts", "answers", "share", "replica hours", "lost", "$")
    for name, each in found["targets"].items():
        if not each["attempts"] and not each["replica_seconds"]:
            continue
        hours = f"{each['replica_seconds'] / 3600:.1f}" if each["replica_seconds"] else "-"
        share = f"{found['split'].get(name, 0.0):.1%}"
        counts = (f"{each[key]:,}" for key in ("attempts", "answers"))
        table.add_row(name, *counts, share, hours, str(each["machines_lost"] or "-"), f"{each['usd']:,.2f}")
    return table


_ROWS = {
    "jobs": "{:,}",
    "simulated_seconds": "{:,.0f}",
    "cost_usd": "${:,.2f}",
    "own_usd": "${:,.2f}",
    "paid_usd": "${:,.2f}",
    "answered": "{:,}",
    "quality": "{:.1%}",
    "wait_p50_seconds": "{:.2f}",
    "wait_p95_seconds": "{:.2f}",
    "time_p50_seconds": "{:.2f}",
    "time_p95_seconds": "{:.2f}",
    "deadline_misses": "{:,}",
    "replica_seconds": "{:,.0f}",
    "attempts_per_job": "{:.2f}",
    "escalations": "{:,}",
    "overloaded": "{:,}",
    "overloaded_usd": "${:,.2f}",
}


def beside(found: Sequence[Found], changed: Found | None = None) -> Iterator[RenderableType]:
    """Yield a table of several simulations, a column each, and of two what changes from the first to the second."""
    table = _table("", *(each["title"] for each in found), *(["change"] if changed else []))
    for key, form in _ROWS.items():
        change = [_signed(form, changed[key])] if changed else []
        table.add_row(key, *(form.format(each[key]) for each in found), *change)
    for name in sorted({name for each in found for name in each["split"]}):
        shares = [each["split"].get(name, 0.0) for each in found]
        change = [f"{shares[1] - shares[0]:+.1%}"] if changed else []
        table.add_row(name, *(f"{share:.1%}" for share in shares), *change)
    yield table
    for each in found:
        yield from _left_out(each)


def _signed(form: str, change: float) -> str:
    return ("+" if change > 0 else "-" if change < 0 else "") + form.format(abs(change))


def figures(found: Sequence[Found]) -> Iterator[RenderableType]:
    """Yield the cost tables, in dollars a month."""
    table = _table("", "", "document $", "right sum $", "ours $", "machines $", "calls $", "right")
    table.add_column("why ours differs", ratio=1)
    for row in found:
        low, high = row["document_usd"]
        said = _usd(low) if low == high else f"{_usd(low)}-{_usd(high)}"
        right = "-" if row["right_usd"] is None else _usd(row["right_usd"])
        ours = (_usd(row[key]) for key in ("ours_usd", "own_usd", "paid_usd"))
        table.add_row(row["document"], row["what"], said, right, *ours, f"{row['quality']:.0%}", row["why"])
    yield table
    yield "Dollars a month: one simulated day times 30. The right sum is the document's own, without its slips."


def prediction(found: Found) -> Iterator[RenderableType]:
    """Yield a recorded run beside the simulated one."""
    table = _table(f"{found['jobs']:,} jobs", "recorded", "predicted", "off by")
    for key, name in (("seconds", "all done, s"), ("p50_seconds", "a job, p50 s"), ("p95_seconds", "a job, p95 s")):
        seconds, predicted = found[key], found[f"predicted_{key}"]
        table.add_row(name, f"{seconds:.2f}", f"{predicted:.2f}", f"{abs(predicted / seconds - 1):.1%}")
    for name in sorted(found["split"].keys() | found["predicted_split"].keys()):
        shares = [found[key].get(name, 0.0) for key in ("split", "predicted_split")]
        table.add_row(name, *(f"{share:.1%}" for share in shares), f"{abs(shares[0] - shares[1]):.1%}")
    yield table
    learned = found["learned_from"]
    yield f"learned from {learned if isinstance(learned, str) else ', '.join(learned)}"


def _usd(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:,.2f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table
