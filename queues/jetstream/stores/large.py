"""Reads objects, and results whose answer is one."""

from __future__ import annotations

import asyncio

from fleet.model.result import Result
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.wire.objects import chunk_subjects
from queues.wire.parcels import belongs_to, unpacked
from queues.wire.result import Receipt, receipt_in, result_in
from queues.wire.subjects import LARGE_RESULTS

CHUNKS_AT_ONCE = 32
"""Chunks asked for at once: the server cuts the connection of a client for which more than 64 MB wait."""

TRIES = 3
LAG_SECONDS = 0.3
"""Seconds between tries: in a cluster the server that answers may lag behind the one that has taken the chunks in."""


async def whole_result(connection: Connection, tenant: str, body: bytes) -> Result | None:
    """Return the result in these bytes with its answer, wherever that lies; None if there is none or it is gone.

    Raises: QueueUnavailable if the answer cannot be read.
    """
    receipt = receipt_in(body)
    if receipt is None:
        return result_in(body)
    if not belongs_to(receipt, tenant):
        return None
    content = await content_of(connection, LARGE_RESULTS, receipt)
    return None if content is None else unpacked(body, receipt, content)


async def content_of(connection: Connection, stream: str, receipt: Receipt) -> bytes | None:
    """Return the content of an object, as it lies there, or None if a part of it is gone. Raises: QueueUnavailable."""
    subjects, content = chunk_subjects(receipt), bytearray()
    for start in range(0, len(subjects), CHUNKS_AT_ONCE):
        portion = await _portion(connection, stream, subjects[start : start + CHUNKS_AT_ONCE])
        if portion is None:
            return None
        for chunk in portion:
            content += chunk
    return bytes(content)


async def _portion(connection: Connection, stream: str, subjects: list[str]) -> list[bytes] | None:
    """Return the chunks under these subjects, or None if one is gone.

    Raises: QueueUnavailable if they cannot be read.
    """
    for tried in range(1, TRIES + 1):
        found = await api.direct_get(connection, stream, subjects)
        chunks = [chunk for chunk in found if chunk is not None]
        if len(chunks) == len(found):
            return chunks
        await asyncio.sleep(LAG_SECONDS if tried < TRIES else 0)
    return None
