"""Takes several streams as one, each item as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


async def merged(streams: Sequence[AsyncGenerator[Item, None]]) -> AsyncGenerator[tuple[int, Item], None]:
    """Yield what the streams yield, each with the number of its stream; closing this one closes them all."""

    async def following(number: int) -> tuple[int, Item | None]:
        return number, await anext(streams[number], None)

    coming = {asyncio.create_task(following(number)) for number in range(len(streams))}
    try:
        while coming:
            done, coming = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for number, item in [task.result() for task in done]:
                if item is not None:
                    coming.add(asyncio.create_task(following(number)))
                    yield number, item
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
