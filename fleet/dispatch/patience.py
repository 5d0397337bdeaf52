"""How long the dispatcher's loops wait for something to happen."""

from __future__ import annotations

import asyncio

POLL_SECONDS = 0.5
"""A take on an empty queue returns after this long, so that a stop is noticed."""

PAUSE_SECONDS = 0.5
"""Between tries while the broker is away."""


async def pause(until: asyncio.Event, seconds: float) -> bool:
    """Wait until the event happens, `seconds` at most; whether it happened."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return False
    return True
