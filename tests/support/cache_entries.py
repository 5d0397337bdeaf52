"""Entries of the cache, for tests."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fleet.model.attempt import Usage
from fleet.model.cache_entry import CacheEntry

KEY = "0f" * 32
OTHER = "a7" * 32


def entry(key: str = KEY, tenant: str = "acme", job: int = 1, **changes: Any) -> CacheEntry:
    at = float(int(time.time()))
    message = {"role": "assistant", "content": "positive"}
    plain = CacheEntry(
        tenant,
        key,
        f"job-{job:016d}",
        "classify.sentiment",
        "llama-8b",
        at,
        at + 3600.0,
        message,
        "stop",
        "invented/llama-8b",
        Usage(10, 2, cached_input_tokens=3),
        "v1",
    )
    return replace(plain, **changes)
