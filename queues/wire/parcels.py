"""Results that are larger than a message: their answer lies in an object store, and they carry a claim to it.

The layout is one that every NATS client's object store reads, bucket `results-large`. The chunks of an object lie under
`<tenant>.<job id>.<random>.<number>`: permissions can tell tenants apart, and each chunk can be asked for by its
subject, which is all that a tenant with an account of its own can do.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic_core import from_json, to_json

from fleet.model.attempt import Answer
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Outbound, Result
from queues.wire.letters import Message, traceparent_in, with_trace
from queues.wire.result import Receipt, encode_result, result_in
from queues.wire.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    LARGE_RESULTS_BUCKET,
    ROLLUP,
    object_chunk_subject,
    object_meta_subject,
    result_subject,
)

CHUNK_BYTES = 128 * 1024
"""Bytes per chunk, as every client's object store takes them by default; within the smallest message limit in use."""

_NAME = re.compile(r"[\w-]+\.[\w-]+\.[0-9a-f]{16}", re.ASCII)
"""The form of an object's name, which becomes part of a subject."""

MOST_BYTES = 64 * 1024 * 1024
"""The max size of an answer. A larger one is refused, and its job fails: nobody generates that much on purpose."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A result split in two: the answer's messages, to store first, and the result's own message."""

    contents: Sequence[Message]
    message: Message


def parcel_of(result: Outbound, message: Message | None, max_message_bytes: int) -> Parcel | None:
    """Split a result whose message is too large; return None for anything else, and where a split cannot help."""
    if not isinstance(result, Result) or message is None or message.size_bytes <= max_message_bytes:
        return None
    if result.answer is None or len(content := to_json(result.answer.message)) > MOST_BYTES:
        return None
    name = f"{result.tenant}.{result.job_id}.{secrets.token_hex(8)}"
    receipt = Receipt(LARGE_RESULTS_BUCKET, name, len(content), -(-len(content) // CHUNK_BYTES), _digest(content))
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
    own = Message(result_subject(result.tenant, result.job_id), encode_result(result, receipt), fence)
    return Parcel([*_chunks(receipt, content), _meta(receipt)], with_trace(own, traceparent_in(message.headers)))


def _chunks(receipt: Receipt, content: bytes) -> list[Message]:
    return [
        Message(subject, content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES])
        for number, subject in enumerate(chunk_subjects(receipt))
    ]


def chunk_subjects(receipt: Receipt) -> list[str]:
    """Return the subjects of the chunks in the order in which they make up the object."""
    return [object_chunk_subject(receipt.name, number) for number in range(receipt.chunks)]


def _meta(receipt: Receipt) -> Message:
    info = {
        "name": receipt.name,
        "bucket": receipt.bucket,
        # What clients put after `C.` to find all chunks.
        "nuid": f"{receipt.name}.*",
        "size": receipt.bytes,
        "mtime": datetime.now(UTC).isoformat(),
        "chunks": receipt.chunks,
        "digest": receipt.digest,
        "options": {"max_chunk_size": CHUNK_BYTES},
    }
    return Message(object_meta_subject(receipt.name), to_json(info), {ROLLUP: "sub"})


def _digest(content: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()


def belongs_to(receipt: Receipt, tenant: str) -> bool:
    """Return whether the tenant's result may hold this claim: a forged one could name another's object, or none."""
    named = receipt.bucket == LARGE_RESULTS_BUCKET and receipt.name.startswith(f"{tenant}.")
    return named and _NAME.fullmatch(receipt.name) is not None and 0 < receipt.chunks <= MOST_BYTES // CHUNK_BYTES


def unpacked(body: bytes, receipt: Receipt, chunks: Sequence[bytes]) -> Result:
    """Return the result with its answer put back. Raises: QueueUnavailable if the object is not what its claim says."""
    content = b"".join(chunks)
    result = result_in(body, from_json(content)) if receipt.digest == _digest(content) else None
    if result is None or not isinstance(result.answer, Answer):
        raise QueueUnavailable("the answer of a large result is not whole; ask again")
    return result
