"""The bucket `cache`: answers that may be given again, each under its tenant and the key of its request."""

from __future__ import annotations

import math

from pydantic_core import to_json

from fleet.model.cache_entry import CacheEntry, CacheKey
from queues.wire.attempt import MessageRecord
from queues.wire.letters import Message
from queues.wire.near import RequestKey
from queues.wire.record import JobId, TenantName, Version, Written, read, writer
from queues.wire.subjects import MSG_TTL, ROLLUP, cache_subject
from queues.wire.usage import UsageRecord, read_usage, usage_record

MARKER_SECONDS = 3600
"""Seconds that the mark of a dropped entry is kept: whoever follows the bucket has seen it by then."""

LARGEST_BYTES = 256 * 1024
"""Maximum size of an entry that is read; the fleet keeps only shorter ones."""


class CacheEntryRecord(Written):
    """An answer that may be given again, under `<tenant>.<key>`, from `answered_at` to `expires_at` (unix seconds).

    `job_id` and `target` say whose answer it is, `calibration` which calibration accepted it, `usage` what it took.
    `question`, and `scope`, the key of all else that is asked, are there where the semantic cache may find it,
    `adapter` (a digest) where one answered.
    """

    schema_: Version
    tenant: TenantName
    key: RequestKey
    job_id: JobId
    task: str
    target: str
    answered_at: float
    expires_at: float
    message: MessageRecord
    finish_reason: str
    model: str
    usage: UsageRecord
    calibration: str | None = None
    question: str | None = None
    scope: RequestKey | None = None
    adapter: str | None = None


_write = writer(CacheEntry, CacheEntryRecord, apart=("usage",))


def encode_cache_entry(entry: CacheEntry) -> bytes:
    record = {**_write(entry), "usage": usage_record(entry.usage)}
    if entry.scope is None:
        del record["question"], record["scope"]
    if entry.adapter is None:
        del record["adapter"]
    return to_json(record, fallback=dict)


def decode_cache_entry(body: bytes) -> CacheEntry:
    """Return the entry in these bytes. Raises: ValueError if they hold none."""
    held = vars(read(CacheEntryRecord, body, "cache entry"))
    del held["schema_"]
    return CacheEntry(**{**held, "usage": read_usage(held["usage"])})


def kept(entry: CacheEntry) -> Message:
    """Return the message that keeps an entry; the broker lets go of it by itself."""
    seconds = max(1, math.ceil(entry.expires_at - entry.answered_at))  # whole ones, as the server wants
    return Message(cache_subject(entry.tenant, entry.key), encode_cache_entry(entry), {MSG_TTL: str(seconds)})


def dropped(tenant: str, key: str) -> Message:
    """Return the message that takes the place of an entry, for all who follow the bucket; it goes after a while."""
    headers = {"KV-Operation": "PURGE", ROLLUP: "sub", MSG_TTL: str(MARKER_SECONDS)}
    return Message(cache_subject(tenant, key), b"", headers)


def entry_in(subject: str, body: bytes) -> CacheEntry | CacheKey:
    """Return the entry on this subject; where there is none any more, or none of ours, its tenant and key."""
    _, _, tenant, key = subject.split(".", 3)
    if len(body) > LARGEST_BYTES:
        return tenant, key
    try:
        entry = decode_cache_entry(body)
    except ValueError:
        return tenant, key
    return entry if (entry.tenant, entry.key) == (tenant, key) else (tenant, key)
