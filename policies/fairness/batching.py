"""The size of micro-batches, and the work in hand."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.model.job import Lane
from fleet.model.target import Target

INTERACTIVE_SHARE = 8
MOST_INTERACTIVE_SHARE = 3
"""The parts of a target's slots that are kept for interactive jobs: always the one, and up to the other for a burst of
them like those it had lately."""

WORK_BYTES = 64 * 1024 * 1024
"""Maximum bytes of work in hand at one dispatcher, as sent, over all targets; parsed it takes twice as much."""

INTERACTIVE_BYTES = WORK_BYTES // 4
"""Additional bytes that may be in hand for interactive jobs."""


def kept_for_interactive(target: Target, burst: int = 0) -> int:
    """Return the slots that no other lane may fill: an eighth, at least one, and never the last.

    Up to a third is kept for a `burst` of as many interactive jobs: it finds its slots free, and where none comes for a
    while the other lanes have them. So an interactive job finds a slot however long the others run; where there is one
    slot it waits for one batch.
    """
    slots = target.max_in_flight
    return min(slots - 1, max(1, slots // INTERACTIVE_SHARE, min(burst, slots // MOST_INTERACTIVE_SHARE)))


def free_for(lane: Lane, interactive: int, others: int, target: Target, burst: int = 0) -> int:
    """Return the slots that a lane may fill while this many `interactive` and other jobs run.

    `burst` is how many interactive jobs may come at a time, if that is more.
    """
    free = target.max_in_flight - interactive - others
    if lane is Lane.INTERACTIVE:
        return free
    return min(free, target.max_in_flight - kept_for_interactive(target, max(interactive, burst)) - others)


def take_now(waiting: int, oldest_wait_seconds: float, free_slots: int, idle: bool, target: Target) -> int:
    """Return how many of the `waiting` jobs to send now as one micro-batch; 0: wait for more or for a free slot.

    A batch goes when it is full, when its first job has waited `batch_wait_seconds`, or when the target
    is idle: then waiting for company only costs time. Where fewer slots are free than a full batch
    needs, as many jobs go as fit.
    """
    ripe = idle or waiting >= target.batch_size or oldest_wait_seconds >= target.batch_wait_seconds
    return max(0, min(waiting, target.batch_size, free_slots)) if ripe else 0


def together(adapters: Sequence[str | None], count: int, at_once: int) -> list[int]:
    """Return the places of at most `count` jobs for one micro-batch, given the adapters they ask for, oldest first.

    At most `at_once` different adapters are among them, and equal ones are next to each other. The oldest is always
    among them, so that each job goes after as many batches as jobs were before it, however rare its adapter is.
    """
    found: dict[str | None, list[int]] = {}
    different, left = at_once, count
    for place, adapter in enumerate(adapters):
        if not left:
            break
        if adapter not in found:
            if adapter is not None and not different:
                continue
            different -= adapter is not None
            found[adapter] = []
        found[adapter].append(place)
        left -= 1
    return [place for places in found.values() for place in places]


def may_bring(lane: Lane, own_bytes: int, all_bytes: int, targets: int) -> bool:
    """Return whether to fetch more work of the lane for a target, given the bytes in hand for it and for all `targets`.

    While there is room for all, any target may take work; beyond, each has its share, and one job in any case: large
    jobs are slower, but none waits for ever.
    """
    most = WORK_BYTES + (INTERACTIVE_BYTES if lane is Lane.INTERACTIVE else 0)
    return all_bytes < most or own_bytes < most // targets or own_bytes == 0
