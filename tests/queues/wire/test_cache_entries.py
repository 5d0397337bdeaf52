"""What lies in the cache's bucket and is no answer of the fleet's is none: the next job asks a model."""

from __future__ import annotations

import json

import pytest

from fleet.model.attempt import Usage
from fleet.model.cache_entry import CacheEntry
from queues.wire.cache import LARGEST_BYTES, encode_cache_entry, entry_in
from queues.wire.subjects import cache_subject

KEY = "0f" * 32
ENTRY = CacheEntry(
    "acme",
    KEY,
    "job-0000000000000001",
    "classify.sentiment",
    "llama-8b",
    1_000.0,
    2_000.0,
    {"role": "assistant", "content": "positive"},
    "stop",
    "invented/llama-8b",
    Usage(10, 2),
)
BODY = json.loads(encode_cache_entry(ENTRY))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON \xff",
        b"[" * 100_000,
        b"{}",
        json.dumps({**BODY, "tenant": "globex"}).encode(),
        json.dumps({**BODY, "key": "a7" * 32}).encode(),
        json.dumps({**BODY, "message": {"role": "assistant", "content": 7}}).encode(),
        json.dumps({**BODY, "message": "positive"}).encode(),
        json.dumps({**BODY, "usage": {"input_tokens": -1}}).encode(),
        json.dumps({**BODY, "message": {"role": "assistant", "content": "y" * LARGEST_BYTES}}).encode(),
    ],
)
def test_a_message_that_is_no_entry_of_its_subject_drops_what_was_there(body):
    assert entry_in(cache_subject("acme", KEY), body) == ("acme", KEY)


def test_an_entry_is_read_as_it_was_put():
    assert entry_in(cache_subject("acme", KEY), encode_cache_entry(ENTRY)) == ENTRY
