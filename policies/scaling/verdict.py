"""The step from a wished number to a decision: the bounds, and the reason."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.scaling import ScalingDecision, ScalingReason
from policies.scaling.reading import ReplicaBounds


@dataclass(frozen=True, slots=True)
class Words:
    """The reasons to give if there should be more, fewer, or as many."""

    more: ScalingReason
    fewer: ScalingReason
    same: ScalingReason


def verdict(wish: int, there: int, bounds: ReplicaBounds, words: Words) -> ScalingDecision:
    """Return the wish within the bounds; where they changed it, they are the reason."""
    replicas = max(bounds.least, min(wish, bounds.most))
    if replicas > there:
        return ScalingDecision(replicas, ScalingReason.BELOW_LEAST if wish < replicas else words.more)
    if replicas < there:
        return ScalingDecision(replicas, ScalingReason.ABOVE_MOST if wish > replicas else words.fewer)
    return ScalingDecision(replicas, ScalingReason.AT_MOST if wish > replicas else words.same)
