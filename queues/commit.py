"""The order in which every queue commits: first what follows is stored, then the deliveries are settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fleet import faults
from fleet.model.delivery import Committed, JobsOf, NotSettled, Settlement, Stored, Transition
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Outbound

Store = Callable[[Sequence[tuple[Outbound, str | None]]], Awaitable[Sequence[Stored]]]
"""Stores everything, each with the traceparent it goes under. Raises QueueUnavailable."""

Settle = Callable[[Sequence[Settlement]], Awaitable[None]]

AS_MEANT = Committed()


async def commit(transitions: Sequence[Transition], store: Store, settle: Settle) -> list[Committed]:
    """Do what `fleet.ports.JobQueue.commit` says, with these two."""
    stored = await store([(each, step.traceparent) for step in transitions for each in step.everything])
    if stored.count(Stored.NEW) == len(stored):
        committed = [AS_MEANT] * len(transitions)
    else:
        found = iter(stored)
        committed = [_committed(step, [next(found) for _ in step.everything]) for step in transitions]
    due = [step.settlement for step, each in zip(transitions, committed, strict=True) if each.settled]
    try:
        if due and not faults.point(_published(due[0])):
            await settle(due)
    except QueueUnavailable as error:
        raise NotSettled(committed, str(error)) from error
    return committed


def _committed(step: Transition, stored: Sequence[Stored]) -> Committed:
    """Return what became of a transition; `stored` says it of everything in it, in order."""
    pairs = list(zip(step.everything, stored, strict=True))
    refused = tuple(each for each, kind in pairs if kind is Stored.REFUSED)
    repeated = tuple(each for each, kind in pairs if kind is Stored.REPEAT)
    return Committed(refused, repeated, settled=Stored.REFUSED not in stored[: len(step.outbound)])


def _published(settlement: Settlement) -> str:
    """The fault point between the two. Whose delivery it is says whose step it is."""
    return "intake.published" if isinstance(settlement.delivery.source, JobsOf) else "runner.published"
