"""Shows a report of savings: as tables for people, and as CSV."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.books.tables import Amount, csv_of, table_of
from fleet.model.money import NanoUsd
from fleet.reports.baselines import AnotherWay, CloudModel
from fleet.reports.dollars import exact, shown
from fleet.reports.mechanisms import Basis, Mechanism
from fleet.reports.savings import SavingsReport

BASELINES = ("the same jobs", "targets", "cost", "saved", "share")
MECHANISMS = ("left out alone", "how it is known", "jobs", "saved")
MODELS = ("all at one cloud model", "judged good", "good enough", "cost")


def view(report: SavingsReport) -> Iterator[RenderableType]:
    period = report.period
    yield Text(f"{period.since} to {period.until}: {report.jobs:,} answered jobs", style="bold")
    spent = report.spent
    parts = f"{shown(spent.paid)} paid to providers, {shown(spent.own)} imputed to own models"
    yield f"this fleet  {shown(spent.total)}: {parts}"
    yield (
        f"            of it {shown(spent.comparisons)} for comparisons, {shown(spent.second_looks)} for second looks, "
        f"{shown(spent.failed)} for calls that failed"
    )
    yield ""
    yield table_of(BASELINES, [_baseline(each, spent.total) for each in report.baselines], texts=2)
    yield from (f"quality against {each.title.lower()}: {_quality(each)}" for each in report.baselines)
    yield ""
    yield table_of(MECHANISMS, [_mechanism(each) for each in report.mechanisms], texts=2)
    yield ""
    yield table_of(MODELS, [_model(each) for each in report.models], texts=3)
    yield ""
    yield from (f"- {note}" for note in report.notes)


def _baseline(baseline: AnotherWay, fleet: NanoUsd) -> tuple[str, ...]:
    found = baseline.as_json(fleet)
    targets = ", ".join(f"{name} {count:,}" for name, count in baseline.targets.items()) or baseline.chosen
    saved, share = found["saved_nano_usd"], found["saved_share"]
    return baseline.title, targets, shown(baseline.cost), shown(saved), _percent(share)


def _quality(baseline: AnotherWay) -> str:
    if baseline.quality is None:
        return "not known"
    point, low, high = (100 * each for each in baseline.quality.points)
    n = baseline.quality.disagreed.n
    return f"{point:+.2f} percentage points (95 % interval {low:+.2f} to {high:+.2f}) by {n:,} comparisons"


def _mechanism(found: Mechanism) -> tuple[str, ...]:
    is_range = found.low != found.high
    saved = f"{shown(found.low)} to {shown(found.high)}" if is_range else shown(found.low)
    known = f"{found.basis}: {found.without}" if found.basis is Basis.UNKNOWN else str(found.basis)
    jobs = "-" if found.jobs is None else f"{found.jobs:,}"
    return found.title, known, jobs, "-" if found.basis is Basis.ABSENT else saved


def _model(found: CloudModel) -> tuple[str, ...]:
    judged = "-" if found.judged is None else f"{found.judged.share:.1%} of {found.judged.n:,}"
    verdict = {True: "yes", False: "no", None: "not known"}[found.good_enough]
    return found.target.name, judged, verdict, shown(found.cost)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def csv_lines(report: SavingsReport) -> str:
    """Return a line for each figure: what it is, how it is known, and US dollars from low to high."""
    heads = ("section", "name", "basis", "cost_usd", "saved_low_usd", "saved_high_usd", "detail", "jobs")
    spent = report.spent
    parts = ("total", "paid", "own", "comparisons", "second_looks", "failed")
    rows: list[tuple[str | None, ...]] = [
        ("spent", part, "exact", _usd(getattr(spent, part)), None, None, None, None) for part in parts
    ]
    for baseline in report.baselines:
        saved = _usd(baseline.as_json(spent.total)["saved_nano_usd"])
        rows.append(("baseline", baseline.name, "estimate", _usd(baseline.cost), saved, saved, baseline.chosen, None))
    for each in report.mechanisms:
        jobs = None if each.jobs is None else str(each.jobs)
        span = _usd(each.low), _usd(each.high)
        rows.append(("mechanism", each.name, str(each.basis), None, *span, each.without, jobs))
    for model in report.models:
        rows.append(
            ("cloud_model", model.target.name, "estimate", _usd(model.cost), None, None, model.target.model, None)
        )
    return csv_of(heads, rows)


def _usd(amount: NanoUsd | None) -> Amount | None:
    return None if amount is None else Amount(exact(amount))
