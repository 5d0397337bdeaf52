"""How many waiting jobs make a micro-batch."""

from __future__ import annotations

from fleet.model.target import Target


def take_now(waiting: int, oldest_wait_seconds: float, free_slots: int, target: Target) -> int:
    """How many of the `waiting` jobs to send now as one micro-batch; 0 means wait for more or for a free slot.

    A batch goes when it is full, when its first job has waited `batch_wait_seconds`, or when the target
    is idle: then waiting for company only costs time. Where fewer slots are free than a full batch
    needs, what fits goes.
    """
    idle = free_slots >= target.max_in_flight
    ripe = idle or waiting >= target.batch_size or oldest_wait_seconds >= target.batch_wait_seconds
    return max(0, min(waiting, target.batch_size, free_slots)) if ripe else 0
