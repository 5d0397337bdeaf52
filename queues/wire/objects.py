"""Objects that are larger than a message, in the layout that every NATS client's object store reads.

The chunks of an object lie on subjects of their own, `<name>.<number>`, so that each can be asked for, or permitted, by
its subject.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic_core import to_json

from queues.wire.letters import Message
from queues.wire.record import fields_in
from queues.wire.result import Receipt
from queues.wire.subjects import ROLLUP, object_chunk_subject, object_meta_subject

CHUNK_BYTES = 128 * 1024
"""Bytes per chunk, as every client's object store takes them by default; within the smallest message limit in use."""


def receipt_of(bucket: str, name: str, content: bytes) -> Receipt:
    """Return the receipt of an object: its place, size and digest."""
    return Receipt(bucket, name, len(content), -(-len(content) // CHUNK_BYTES), digest_of(content))


def digest_of(content: bytes) -> str:
    """Return the digest of an object as object stores write it."""
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()


def object_messages(receipt: Receipt, content: bytes) -> Iterator[Message]:
    """Yield the messages that store an object, the one that says what it is last."""
    for number, subject in enumerate(chunk_subjects(receipt)):
        yield Message(subject, content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES])
    yield _meta(receipt)


def chunk_subjects(receipt: Receipt) -> list[str]:
    """Return the subjects of the chunks in the order in which they make up the object."""
    return [object_chunk_subject(receipt.name, number, receipt.bucket) for number in range(receipt.chunks)]


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
    return Message(object_meta_subject(receipt.name, receipt.bucket), to_json(info), {ROLLUP: "sub"})


def receipt_in_meta(body: bytes, bucket: str, name: str) -> Receipt | None:
    """Return the receipt in what is stored about an object; None if it is not of this object, or says nonsense."""
    said = fields_in(body)
    size = said.get("size")
    if not isinstance(size, int) or size < 0:
        return None
    receipt = Receipt(bucket, name, size, -(-size // CHUNK_BYTES), str(said.get("digest")))
    named = {"bucket": bucket, "name": name, "chunks": receipt.chunks}
    return receipt if named.items() <= said.items() else None
