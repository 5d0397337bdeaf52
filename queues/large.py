"""Reading results whose answer lies in the object store."""

from __future__ import annotations

from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from queues.connection import Connection, status_of
from queues.journal import recorded
from queues.letters import Message
from queues.parcels import belongs_to, unpacked
from queues.records import receipt_in, result_in
from queues.subjects import LARGE_RESULTS, object_chunk_subject, object_meta_subject


async def whole_result(connection: Connection, tenant: str, body: bytes) -> Result | None:
    """The result in these bytes with its answer, wherever that lies; None where it is none, or its answer is gone.

    Raises: QueueUnavailable.
    """
    receipt = receipt_in(body)
    if receipt is None:
        return result_in(body)
    if not belongs_to(receipt, tenant):
        return None
    meta = object_meta_subject(receipt.name)
    [reply] = await connection.exchange([Message(f"$JS.API.DIRECT.GET.{LARGE_RESULTS}.{meta}", b"")])
    match status_of(reply):
        case None:
            subject = object_chunk_subject(receipt.name)
            chunks = [chunk.data async for chunk in recorded(connection, LARGE_RESULTS, subject)]
            return unpacked(body, reply.data, chunks)
        case "404":
            return None
        case status:
            raise QueueUnavailable(f"the answer of a large result cannot be read: status {status}")
