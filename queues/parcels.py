"""Results that are larger than a message: their answer lies in an object store, and they carry a claim to it.

The layout is that of every NATS client's object store, bucket `results-large`. The chunks of an object lie under
`<tenant>.<job id>.<random>`, so that permissions can tell tenants apart.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic_core import from_json, to_json

from fleet.model.attempt import Answer
from fleet.model.delivery import Post
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from queues.letters import Message, with_trace
from queues.records import Receipt, encode_result, result_in
from queues.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    LARGE_RESULTS_BUCKET,
    ROLLUP,
    object_chunk_subject,
    object_meta_subject,
    result_subject,
)

CHUNK_BYTES = 128 * 1024
"""What every client's object store takes by default; it fits into the smallest message limit in use."""

MOST_BYTES = 64 * 1024 * 1024
"""An answer beyond this is refused, and its job fails: nobody generates that much on purpose."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The answer of a result, taken out of it: messages to store first, and the result's own."""

    contents: Sequence[Message]
    message: Message


def parcel_of(post: Post, message: Message | None, max_message_bytes: int) -> Parcel | None:
    """How to store a result whose message is too large; None for any other letter, and where it cannot help."""
    result = post.letter
    if message is None or message.size_bytes <= max_message_bytes or not isinstance(result, Result):
        return None
    if result.answer is None or len(content := to_json(result.answer.message)) > MOST_BYTES:
        return None
    name = f"{result.tenant}.{result.job_id}.{secrets.token_hex(8)}"
    receipt = Receipt(LARGE_RESULTS_BUCKET, name, len(content))
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
    own = Message(result_subject(result.tenant, result.job_id), encode_result(result, receipt), fence)
    return Parcel([*_chunks(name, content), _meta(name, content)], with_trace(own, post.traceparent))


def _chunks(name: str, content: bytes) -> list[Message]:
    subject = object_chunk_subject(name)
    return [Message(subject, content[start : start + CHUNK_BYTES]) for start in range(0, len(content), CHUNK_BYTES)]


def _meta(name: str, content: bytes) -> Message:
    info = {
        "name": name,
        "bucket": LARGE_RESULTS_BUCKET,
        "nuid": name,
        "size": len(content),
        "mtime": datetime.now(UTC).isoformat(),
        "chunks": -(-len(content) // CHUNK_BYTES),
        "digest": _digest(content),
        "options": {"max_chunk_size": CHUNK_BYTES},
    }
    return Message(object_meta_subject(name), to_json(info), {ROLLUP: "sub"})


def _digest(content: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()


def belongs_to(receipt: Receipt, tenant: str) -> bool:
    """Whether the claim may stand in a result of the tenant: a forged one could name another's object."""
    return receipt.bucket == LARGE_RESULTS_BUCKET and receipt.name.startswith(f"{tenant}.")


def unpacked(body: bytes, meta: bytes, chunks: Sequence[bytes]) -> Result:
    """The result with its answer put back. Raises: QueueUnavailable where the object is not what it says it is."""
    content = b"".join(chunks)
    result = result_in(body, from_json(content)) if from_json(meta).get("digest") == _digest(content) else None
    if result is None or not isinstance(result.answer, Answer):
        raise QueueUnavailable("the answer of a large result is not whole; ask again")
    return result
