"""Shows what simulated mechanisms save as tables for people, from their JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Found = Mapping[str, Any]

TITLES = {
    "alone": "questions without the thread",
    "patterns": "pattern answers",
    "exact": "exact cache",
    "coalescing": "equal jobs wait for each other",
    "semantic": "semantic cache",
    "tools": "unused tools left out",
    "trimming": "threads trimmed",
    "prompt_cache": "providers' prompt caches",
    "discounts": "flexible tier and batches",
    "routing": "cheaper models",
}
"""What each mechanism is called."""


def view(found: Found) -> Iterator[RenderableType]:
    """Yield the bills, what each mechanism saves, and who answered without a call."""
    as_of = found["prices_as_of"] or "an unknown date"
    yield Text(f"{found['title']}: {found['jobs']:,} jobs, prices of {as_of}", style="bold")
    yield ""
    yield _bills(found)
    yield ""
    yield _mechanisms([each for each in found["mechanisms"] if _does_anything(each)])
    yield ""
    if idle := [TITLES[each["mechanism"]] for each in found["mechanisms"] if not _does_anything(each)]:
        yield f"Without effect on this scenario, or not in it: {', '.join(idle)}."
    yield "Shares of the bill before. They overlap: do not add them up."
    known = ", ".join(f"{count / found['jobs']:.1%} {by}" for by, count in found["without_call"].items())
    yield f"Answered without a call, with all mechanisms: {known or 'none'}."


def _bills(found: Found) -> Table:
    table = _table("", "$ a month", "saved", "claimed", "holds", "right", "answered")
    before, best = found["before"], found["good_enough"]
    table.add_row(f"before: all to {found['all_cloud']}", *_bill(before, before))
    for step in found["steps"]:
        table.add_row(step["name"], *_bill(step, before))
    if best is not None:
        table.add_row(f"all to {best['name']}, the cheapest good enough", *_bill(best, before))
    return table


def _bill(bill: Found, before: Found) -> Iterator[str]:
    whole, claimed = before["month_usd"], bill["claimed_usd"]
    yield f"{bill['month_usd']:,.2f}"
    yield f"{1 - bill['month_usd'] / whole:.0%}"
    yield "-" if claimed is None else f"{1 - claimed / whole:.0%}"
    yield _holds(bill)
    yield f"{bill['quality']:.1%}"
    yield f"{bill['answered']:.1%}"


def _does_anything(found: Found) -> bool:
    return found["claimed"] is not None or any(found[name] for name in ("by_itself", "left_out", "quality"))


def _mechanisms(found: list[Found]) -> Table:
    table = _table("", "by itself", "left out of all", "claimed", "holds", "right")
    for each in found:
        claimed = "-" if each["claimed"] is None else f"{each['claimed']:.0%}"
        shares = (f"{each[name]:.1%}" for name in ("by_itself", "left_out"))
        table.add_row(TITLES[each["mechanism"]], *shares, claimed, _holds(each), f"{100 * each['quality']:+.1f} points")
    return table


def _holds(found: Found) -> str:
    return {None: "-", True: "yes", False: "no"}[found["holds"]]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table
