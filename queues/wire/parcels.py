"""Results that are larger than a message: their answer lies in an object store, and they carry a claim to it.

The layout is one that every NATS client's object store reads, bucket `results-large`. The chunks of an object lie under
`<tenant>.<job id>.<random>.<number>`: permissions can tell tenants apart, and each chunk can be asked for by its
subject, which is all that a tenant with an account of its own can do.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from fleet.model.attempt import Answer
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Outbound, Result
from queues.wire.letters import Message, traceparent_in, with_trace
from queues.wire.objects import CHUNK_BYTES, digest_of, object_messages, receipt_of
from queues.wire.result import Receipt, encode_result, result_in
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, LARGE_RESULTS_BUCKET, result_subject

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
    receipt = receipt_of(LARGE_RESULTS_BUCKET, name, content)
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"}
    own = Message(result_subject(result.tenant, result.job_id), encode_result(result, receipt), fence)
    return Parcel(list(object_messages(receipt, content)), with_trace(own, traceparent_in(message.headers)))


def belongs_to(receipt: Receipt, tenant: str) -> bool:
    """Return whether the tenant's result may hold this claim: a forged one could name another's object, or none."""
    named = receipt.bucket == LARGE_RESULTS_BUCKET and receipt.name.startswith(f"{tenant}.")
    return named and _NAME.fullmatch(receipt.name) is not None and 0 < receipt.chunks <= MOST_BYTES // CHUNK_BYTES


def unpacked(body: bytes, receipt: Receipt, content: bytes) -> Result:
    """Return the result with its answer put back. Raises: QueueUnavailable if the object is not what its claim says."""
    result = result_in(body, from_json(content)) if receipt.digest == digest_of(content) else None
    if result is None or not isinstance(result.answer, Answer):
        raise QueueUnavailable("the answer of a large result is not whole; ask again")
    return result
