"""Shows the evaluation of a semantic cache to people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.lab.evaluation_view import Found, percent, table_of


def cache_view(found: Found) -> Iterator[RenderableType]:
    """Yield the tables of a stream, or of pairs."""
    return _traps(found) if "traps_served" in found else _stream(found)


def _stream(found: Found) -> Iterator[RenderableType]:
    head = f"{found['asked']:,} requests asked of {found['cached']:,} cached  "
    yield Text.assemble((head, "bold"), f"{_verdict(found)}.")
    yield ""
    rules = table_of(
        f"wrong for at most {percent(found['risk'])}", "hits", "wrong", "worst draw", "violated in", "labels"
    )
    for place, row in enumerate(found["rules"]):
        shares = (percent(row[key]) for key in ("hits", "wrong", "most_wrong", "violation_rate"))
        rules.add_row(
            row["name"],
            *shares,
            f"{row['labels']:,.0f}" if row["labels"] else "-",
            style="bold" if place == 0 else None,
        )
    yield rules
    yield ""
    yield (
        f"{found['resamples']:,} draws of labels over {found['caches']} draws of what is cached; "
        f"the nearest answer is right for {percent(found['reach'])}, "
        f"no cached answer for {percent(found['unanswerable'])}"
    )


def _verdict(found: Found) -> str:
    if found["labels_missing"]:
        return f"exact answers only: {found['labels_missing']:,} labels are missing"
    holds = "holds" if found["violation_rate"] <= found["delta"] else "is broken"
    violated, allowed = percent(found["violation_rate"]), percent(found["delta"])
    return f"the promise {holds}: violated in {violated} of draws, {allowed} allowed"


def _traps(found: Found) -> Iterator[RenderableType]:
    traps, rest = percent(found["traps_served"]), percent(found["should_hits_served"])
    served = f"{traps} of the traps and {rest} of the others are served"
    yield Text.assemble((f"{found['traps'] + found['should_hits']:,} pairs  ", "bold"), f"{served}.")
    yield ""
    categories = table_of("category", "same answer", "pairs", "served")
    for row in found["categories"]:
        categories.add_row(row["name"], "yes" if row["same"] else "no", f"{row['pairs']:,}", percent(row["served"]))
    yield categories
    yield ""
    yield f"fitted on {found['fitted_on']}"
