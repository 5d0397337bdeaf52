"""Waits in tests for the expected thing itself, on any machine, however slow and busy it is."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

PATIENCE_SECONDS = 600.0
"""Seconds after which a waiting test has hung. No measure of speed: it only ends a test that would wait for ever."""

LOOK_AGAIN_SECONDS = 0.01
"""Seconds between two looks at what tells nobody of its changes. No outcome depends on it."""

Found = TypeVar("Found")


async def eventually(look: Callable[[], Awaitable[Found] | Found]) -> Found:
    """Return what `look` finds, as soon as that is true of anything (`bool(found)`).

    For what cannot be awaited. Where there is an event, a future or a callback, wait for that.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := await _looked(look)):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return found


async def _looked(look: Callable[[], Awaitable[Found] | Found]) -> Found:
    found = look()
    return await found if inspect.isawaitable(found) else cast(Found, found)


def eventually_here(look: Callable[[], Found]) -> Found:
    """Return what `look` finds, as `eventually` does, but block: nothing else must run meanwhile."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(LOOK_AGAIN_SECONDS)
    return found
