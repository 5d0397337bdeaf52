"""How many waiting jobs make a micro-batch."""

from __future__ import annotations

from fleet.model.job import Lane
from fleet.model.target import Target

INTERACTIVE_SHARE = 8

WORK_BYTES = 64 * 1024 * 1024
"""What the work in hand at one dispatcher takes, as it was sent, over all targets; parsed it is twice as much."""

INTERACTIVE_BYTES = WORK_BYTES // 4
"""So much more may be in hand when it is for interactive jobs."""


def kept_for_interactive(target: Target) -> int:
    """Slots that no other lane may fill: an eighth, at least one, and never the last.

    So an interactive job finds a slot however long the others run; where there is one slot it waits for one batch.
    """
    return min(target.max_in_flight - 1, max(1, target.max_in_flight // INTERACTIVE_SHARE))


def free_for(lane: Lane, interactive: int, others: int, target: Target) -> int:
    """The slots a lane may fill with so many jobs of the interactive lane and of the others running."""
    free = target.max_in_flight - interactive - others
    if lane is Lane.INTERACTIVE:
        return free
    return min(free, target.max_in_flight - kept_for_interactive(target) - others)


def take_now(waiting: int, oldest_wait_seconds: float, free_slots: int, idle: bool, target: Target) -> int:
    """How many of the `waiting` jobs to send now as one micro-batch; 0 means wait for more or for a free slot.

    A batch goes when it is full, when its first job has waited `batch_wait_seconds`, or when the target
    is idle: then waiting for company only costs time. Where fewer slots are free than a full batch
    needs, what fits goes.
    """
    ripe = idle or waiting >= target.batch_size or oldest_wait_seconds >= target.batch_wait_seconds
    return max(0, min(waiting, target.batch_size, free_slots)) if ripe else 0


def may_bring(lane: Lane, own_bytes: int, all_bytes: int, targets: int) -> bool:
    """Whether a target may be brought more work of the lane, with so much in hand for it and for all the `targets`.

    While there is room for all, whoever has work has it; then each target has its share, and one job in any case: large
    jobs are slower, and none waits for ever.
    """
    most = WORK_BYTES + (INTERACTIVE_BYTES if lane is Lane.INTERACTIVE else 0)
    return all_bytes < most or own_bytes < most // targets or own_bytes == 0
