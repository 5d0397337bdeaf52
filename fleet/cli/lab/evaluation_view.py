"""Shows an evaluation to people as tables. Reads the JSON of a report, so all kinds of report share the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Found = Mapping[str, Any]

_NAMES = {
    "weak": "weak only",
    "strong": "strong only",
    "always_strong": "escalate all",
    "ltt_hb": "LTT, Hoeffding-Bentkus: ships",
    "ltt_binomial": "LTT, exact binomial",
    "naive": "what the sample says",
    "fleet": "the fleet itself",
}


def view(found: Found) -> Iterator[RenderableType]:
    """Yield the verdict first, then one table per part the report has."""
    yield _verdict(found)
    yield ""
    if found.get("rows"):
        yield from (_ways(found["rows"]), "")
        if any(row["apgr"] is not None for row in found["rows"]):
            yield from (_curves(found["rows"]), "")
    yield from (_confidence(found), "")
    if found.get("guarantee"):
        for promise in found["guarantee"]:
            yield from (*_promise(promise), "")
    if found.get("drift"):
        yield from (_drifts([found["drift"], found["control"]]), "")


def _verdict(found: Found) -> Text:
    head = ("refused: ", "bold red") if found["refused"] else ""
    return Text.assemble((f"{found['n']:,} requests  ", "bold"), head, f"{found['reason']}.")


def _ways(rows: Sequence[Found]) -> Table:
    table = table_of("", "right", "escalated", "$ per 1,000")
    for row in rows:
        usd = "-" if row["usd"] is None else f"{1000 * row['usd']:.4f}"
        right = _with_interval(row["quality"], row["quality_ci"], in_percent=True)
        table.add_row(_name(row), right, percent(row["escalation_rate"]), usd, style=_style(row))
    return table


def _curves(rows: Sequence[Found]) -> Table:
    """Show how much of the gap each way recovers, and the shares of strong calls that recover 50, 80 and 95 % of it."""
    table = table_of("gap recovered", "APGR", "CPT 50", "CPT 80", "CPT 95")
    for row in rows:
        if row["apgr"] is not None:
            shares = (percent(row[key]) for key in ("cpt50", "cpt80", "cpt95"))
            table.add_row(_name(row), _with_interval(row["apgr"], row["apgr_ci"]), *shares, style=_style(row))
    return table


def _confidence(found: Found) -> Table:
    """Show the confidence that ships beside its alternatives, then the effect of the chosen threshold."""
    fits = found.get("calibration")
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        table.add_row(Text(name, style="dim"), value)
    for one in fits["each"] if fits else ():
        note = f"ECE {one['ece']:.3f} (perfect {one['ece_floor']:.3f})  Brier {one['brier']:.4f}"
        table.add_row(Text(one["name"], style="dim"), note)
    if fits:
        how = f"{fits['draws']:,} x {fits['labels']:,} labels {fits['how']}; judged on {fits['judged']:,} rows"
        table.add_row(Text("measured", style="dim"), how)
    return table


def _facts(found: Found) -> Iterator[tuple[str, str]]:
    yield "AUROC", _with_interval(found["auroc"], found.get("auroc_ci"))
    yield "kept but wrong", percent(found["kept_wrong"])
    if found.get("two_tier_apgr") is not None:
        yield (
            "whole ladder",
            f"APGR {_with_interval(found['apgr'], found['apgr_ci'])} over measured dollars (random 0.5)",
        )
        yield "two tiers only", f"APGR {found['two_tier_apgr']:.3f} (oracle {_number(found['two_tier_oracle_apgr'])})"
        yield "over mixing", f"{100 * found['margin']:+.1f} points at least"
        yield "calibration", f"ECE {found['ece']:.3f} (perfect {found['ece_floor']:.3f})  Brier {found['brier']:.4f}"
    if found.get("seeds") is not None:
        yield (
            "P(small suffices)",
            f"ECE {found['ece']:.3f} (perfect {found['ece_floor']:.3f})  Brier {found['brier']:.4f}",
        )
        yield "unlike training", f"{percent(found['out_of_distribution'])} of the prompts"
        yield "measured", f"mean of {found['seeds']} trainings on {found['train']:,} prompts, judged on {found['n']:,}"
    if found.get("accuracy_minus_strong") is not None:
        yield "against strong", f"{100 * found['accuracy_minus_strong']:+.1f} points"
    money = found.get("money")
    if money:
        yield "area on dollars", f"{_number(money['area'])}, hosted {_number(money['area_marginal'])} (random 0.5)"
        yield "95% of the gap", f"costs {percent(money['cost95'])} of strong only"
    latency = found.get("latency")
    if latency:
        for name in ("kept", "escalated", "strong"):
            yield (
                f"{name} p50, p95",
                f"{_number(latency[f'{name}_p50_ms'], 0)}, {_number(latency[f'{name}_p95_ms'], 0)} ms",
            )


def _promise(promise: Found) -> Iterator[RenderableType]:
    yield Text(
        f"promise: at most {promise['risk']:.0%} lost, broken in at most {promise['delta']:.0%} of "
        f"{promise['resamples']:,} draws of {promise['labels']:,} labels",
        style="bold",
    )
    table = table_of("threshold by", "broken", "escalated", "against strong", "kept wrong")
    for method in promise["methods"]:
        broken = method["violation_rate"]
        table.add_row(
            _name(method),
            Text(f"{broken:.1%}", style="red" if broken > promise["delta"] else "green"),
            percent(method["escalation_rate"]),
            f"{100 * method['accuracy_minus_strong']:+.1f}",
            percent(method["kept_wrong"]),
        )
    table.add_row("the best there is", "-", percent(promise["optimum"]), "", "", style="dim")
    yield table


def _drifts(drifts: Sequence[Found]) -> Table:
    table = table_of("stream", "rows", "alarm after", "PSI", "guarantee", "threshold")
    for drift in drifts:
        before, after = _threshold(drift["threshold_before"]), _threshold(drift["threshold_after"])
        table.add_row(
            drift["stream"],
            f"{drift['rows']:,}",
            f"{drift['after']:,}" if drift["alarm"] else "no alarm",
            _number(drift["psi"]),
            Text(drift["guarantee"], style="red" if drift["alarm"] else "green"),
            f"{before} → {after}" if drift["alarm"] else before,
        )
    return table


def table_of(first: str, *columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _style(row: Found) -> str | None:
    return "bold" if row["name"] in ("confidence", "router") else None


def _name(row: Found) -> str:
    name = str(row["name"])
    return _NAMES.get(name, name)


def _with_interval(value: float | None, interval: Sequence[float] | None, in_percent: bool = False) -> str:
    shown = percent if in_percent else _number
    if value is None or interval is None:
        return shown(value)
    low, high = (shown(end).removesuffix("%") for end in interval)
    return f"{shown(value)} [{low}, {high}]"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _threshold(value: float | None) -> str:
    return "none kept" if value is None else f"{value:.3f}"
