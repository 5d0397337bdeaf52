"""Shows the evaluation of a table of models to people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.lab.evaluation_view import Found, percent, table_of

_RIVALS = {
    "best_single": "best single model",
    "knn": "40 nearest neighbours",
    "tfidf": "words, ridge regression",
    "oracle": "oracle",
}


def table_view(found: Found) -> Iterator[RenderableType]:
    """Yield the verdict, the table beside its rivals, its rows, and other tables by their price."""
    yield Text.assemble((f"{found['n']:,} questions, {found['models']} models  ", "bold"), f"{_verdict(found)}.")
    yield ""
    ways = table_of("who is asked", "right")
    ways.add_row("table", percent(found["right"]), style="bold")
    for key, name in _RIVALS.items():
        ways.add_row(name, percent(found[key]))
    yield from (ways, "")
    rows = table_of("task", "model")
    for task, model in found["table"].items():
        rows.add_row(task, model)
    yield from (rows, "")
    points = table_of("the single model's price is worth", "right", "price")
    for row in found["points"]:
        points.add_row(*(percent(row[key]) for key in ("worth", "right", "price_share")))
    yield points


def _verdict(found: Found) -> str:
    costs = f"it costs {percent(found['price_share'])} of {found['single_model']}"
    promise = found["promise"]
    if promise is None:
        return costs
    if not promise["kept"]:
        return f"no table passed the test: {found['single_model']} answers every task"
    violated, allowed = percent(promise["violation_rate"]), percent(promise["delta"])
    return f"{costs}; the promise of {percent(promise['risk'])} is broken in {violated} of draws, {allowed} allowed"
