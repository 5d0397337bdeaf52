"""A fitted router before generation, as plain values: predicts from a text whether the small model suffices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

from fleet.model.errors import ConfigError

Tree: TypeAlias = "float | tuple[int, float, Tree, Tree]"
"""A leaf's value, or (feature, threshold, branch where feature <= threshold, branch above)."""

Interval = tuple[float, float]

RouterKey = tuple[str, str]
"""The weak target, and the task, family of tasks (`classify.*`) or `*` whose prompts a router reads for it."""


@dataclass(frozen=True, slots=True)
class Router:
    """P(the small model suffices) = sigmoid(intercept + sum(blend x parts)); it holds for this pair of targets only.

    `weak` suffices where its answer is at least as good as `strong`'s. The parts each predict the gain of asking
    `strong` instead, from -1 to 1: `terms` maps a word to (inverse document frequency, ridge weight) on L2-normalised
    sublinear TF-IDF; `linear` weighs the explicit features; `trees` are averaged over.
    `blend` is in that order. `linear`, `lowest` and `highest` are for features in standard deviations (`scales`) from
    their `means`. Features are those of `policies.features.prompt`, and with `reads_answer` also of
    `policies.features.answer`: then the router is a scorer after generation.

    A text is out of distribution if a feature lies more than `margin` standard deviations outside the range it had in
    training, `lowest` to `highest`, or if a smaller share than `fewest_known` of its words is in `terms`.

    `labels` is the training size. `apgr` and `length_apgr` (the order by prompt length alone) are cross-validated on
    these labels, with 95 % bootstrap intervals; None where the gap is too small to share out. `table_apgr` is that of
    the order by the gain of each prompt's task; None also where tasks were not known. `version` is made of the content.
    """

    version: str
    weak: str
    strong: str
    labels: int
    reads_answer: bool
    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    linear: tuple[float, ...]
    terms: Mapping[str, tuple[float, float]]
    trees: tuple[Tree, ...]
    blend: tuple[float, float, float]
    intercept: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    margin: float
    fewest_known: float
    suffices_share: float
    apgr: float | None
    apgr_ci: Interval | None
    length_apgr: float | None
    length_apgr_ci: Interval | None
    table_apgr: float | None = None


def to_plain(router: Router) -> dict[str, Any]:
    """Return the router as values that `json.dumps` takes."""
    return asdict(router)


def from_plain(values: Mapping[str, Any]) -> Router:
    """Return the router that `to_plain` made these values of, also after a trip through JSON.

    Raises: ConfigError naming the field that is missing or unknown.
    """
    names = {field.name for field in fields(Router)}
    for name in sorted(names - {"table_apgr"} ^ values.keys() - {"table_apgr"}):  # earlier versions lack it
        raise ConfigError(f"router.{name}", "is missing" if name in names else "is not a field of a router")
    terms = {term: _frozen(pair) for term, pair in values["terms"].items()}
    return Router(**{name: _frozen(value) for name, value in values.items()} | {"terms": terms})


def _frozen(value: Any) -> Any:
    """Return the value with tuples for lists: JSON knows lists only, a router holds tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
