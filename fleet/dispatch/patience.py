"""Waiting and retrying in the dispatcher's loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Set
from typing import Any, TypeVar

from fleet.model.errors import QueueUnavailable

Value = TypeVar("Value")

POLL_SECONDS = 0.5
"""A take on an empty queue returns after this long, so that a stop is noticed."""

PAUSE_SECONDS = 0.5
"""Pause between tries while the broker is away."""

ANSWER_SECONDS = 60.0
"""Time to wait out an outage of the broker with a result in hand that was paid for, or took a model's time."""


async def insist(action: Callable[[], Awaitable[Value]], seconds: float) -> Value:
    """Run the action, retrying while the broker is away. Raises QueueUnavailable if it still is after `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        try:
            return await action()
        except QueueUnavailable:
            if loop.time() + PAUSE_SECONDS > until:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


async def until_done(
    action: Callable[[], Awaitable[None]], stop: asyncio.Event, complain: Callable[[QueueUnavailable], None]
) -> None:
    """Run the action, retrying while the broker is away until `stop` is set; `complain` of the first failure alone."""
    is_first = True
    while True:
        try:
            return await action()
        except QueueUnavailable as error:
            if is_first:
                complain(error)
            is_first = False
        if await pause(stop, PAUSE_SECONDS):
            return None


async def pause(until: asyncio.Event, seconds: float) -> bool:
    """Wait until the event happens, for at most `seconds`; return whether it happened."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return False
    return True


async def first_of(events: Iterable[asyncio.Event], seconds: float) -> bool:
    """Wait until one of the events happens, for at most `seconds`; return whether one happened."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for each in waiting:
            each.cancel()


async def until_stopped(
    following: Coroutine[Any, Any, None], stop: asyncio.Event, begun: Set[asyncio.Task[None]]
) -> None:
    """Run the endless `following` until `stop` is set, then wait for the tasks it has `begun`; raise its bug."""
    task, stopping = asyncio.create_task(following), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.gather(task, *begun, return_exceptions=True)
