"""Counts what there is to teach: by task and by the target that may be taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from fleet.lab.data.examples import Example, Origin
from policies.learning.turns import tried_before
from policies.learning.worth import Lesson

if TYPE_CHECKING:
    from fleet.lab.data.licences import Licences
    from fleet.model.turn import Turn
    from policies.rules.catalogue import Catalogue

DESTINATION = "llama"
"""The family of the models that take adapters."""


def lessons_in(
    examples: Iterable[Example],
    licences: Licences,
    teachable: frozenset[str],
    tenants: frozenset[str],
    others: Collection[Turn] = (),
) -> Sequence[Lesson]:
    """Return what each target may learn of each task of these tenants, and has not learnt in another turn.

    What a job teaches is for the first target that was asked and takes adapters, or else for the first one: its answers
    are the cheapest that could be kept.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    before = cache(lambda target, task: tried_before(target, task, tenants, others))
    for each in examples:
        escalated = each.origin is Origin.ESCALATED and each.source.tenant in tenants
        if escalated and each.doubted and licences.of(each.teacher).allows(DESTINATION):
            target = next((name for name in each.doubted if name in teachable), each.doubted[0])
            pairs[target, each.task] += each.source.at > before(target, each.task)
    return [Lesson(target, task, tenants, count) for (target, task), count in sorted(pairs.items())]


def teachable_in(catalogue: Catalogue) -> frozenset[str]:
    """Return the targets that take adapters."""
    return frozenset(name for name, target in catalogue.targets.items() if target.adapters is not None)
