"""Reads what a queue has taken in slices, so that nothing waits until a large take is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from fleet.model.delivery import AnyDelivery

SLICE = 16
"""Messages read before other tasks get their turn: about a millisecond."""

Message = TypeVar("Message")


async def in_slices(
    messages: Sequence[Message], read: Callable[[Message], AnyDelivery], reading: asyncio.Lock
) -> list[AnyDelivery]:
    """Read all the messages, holding the lock for one slice at a time."""
    deliveries: list[AnyDelivery] = []
    for start in range(0, len(messages), SLICE):
        if start:
            await asyncio.sleep(0)
        async with reading:
            deliveries += [read(message) for message in messages[start : start + SLICE]]
    return deliveries
