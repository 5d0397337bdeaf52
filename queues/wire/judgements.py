"""How an answer was judged, as the JSON that WORK, RESULTS and LEDGER carry of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from fleet.model.attempt import Features, Judged
from fleet.model.calibration import Guard, OutputKind, Probe

FEATURES = ("sum", "mean", "min", "q10", "q25", "count", "margin", "entropy")
_NUMBERS = attrgetter(*FEATURES)


def judged_record(judged: Judged | None) -> dict[str, Any] | None:
    """An infinite threshold, which no answer reaches, is written as null."""
    if judged is None:
        return None
    return {
        "threshold": judged.threshold if math.isfinite(judged.threshold) else None,
        "kind": judged.kind.value,
        "calibration": judged.calibration,
        "guard": judged.guard,
        "withdrawn": judged.withdrawn,
        "probe": judged.probe,
        **({"unfamiliar": True} if judged.unfamiliar else {}),
    }


def read_judged(record: Mapping[str, Any] | None) -> Judged | None:
    """Raises KeyError or ValueError where it is no judgement."""
    if record is None:
        return None
    threshold, guard = record["threshold"], record["guard"]
    return Judged(
        threshold=math.inf if threshold is None else threshold,
        kind=OutputKind(record["kind"]),
        calibration=record["calibration"],
        guard=None if guard is None else Guard(guard),
        withdrawn=record["withdrawn"],
        probe=read_probe(record["probe"]),
        unfamiliar=record.get("unfamiliar", False),
    )


def read_probe(word: str | None) -> Probe | None:
    return None if word is None else Probe(word)


def features_record(features: Features | None) -> dict[str, float] | None:
    return None if features is None else dict(zip(FEATURES, _NUMBERS(features), strict=True))


def read_features(record: Mapping[str, Any] | None) -> Features | None:
    """Raises KeyError where one is missing; what is no number was written as null and reads as NaN."""
    if record is None:
        return None
    numbers: dict[str, Any] = {name: math.nan if (value := record[name]) is None else value for name in FEATURES}
    return Features(**numbers)
