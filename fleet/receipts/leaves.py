"""The leaves of the ledger's log: what of a line stays for ever, and a commitment to what can be erased.

A leaf holds the public columns of a line and the hash of everything personal under a random salt. Erasing the personal
part and its salt changes no leaf; without the salt nobody can find out by trying what the hash stood for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fleet.receipts.merkle import Frontier, leaf_hash

SALT_BYTES = 16

PUBLIC = (
    "seq",
    "day",
    "at",
    "line",
    "lane",
    "plan",
    "status",
    "reason",
    "attempt",
    "target",
    "provider",
    "model",
    "region",
    "started_at",
    "ended_at",
    "finish_reason",
    "failure",
    "confidence",
    "threshold",
    "calibration",
    "probe",
    "repeated",
    "cost_nano_usd",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "submitted_at",
    "batch",
    "avoided_target",
    "avoided_input_tokens",
    "avoided_output_tokens",
    "cache_write_1h_tokens",
    "experiment",
    "arm",
    "propensity",
    "left_out_tokens",
    "spare_tokens",
    "diet_agreed",
    "avoided_at",
    "adapter",
)
"""The columns in a leaf, beside the commitment. A later column goes to the end; where it is null no leaf changes."""

NAMES = ("tenant", "job_id", "line")
"""The columns under which a line is found. The commitment covers them, for the line's own bytes need not name them."""

ERASABLE = ("tenant", "job_id", "person", "task", "traceparent", "body", "salt")
"""The columns that an erasure empties or renames. The commitment covers them all: the others are parts of the body."""


def commitment_of(salt: bytes, row: Mapping[str, Any], body: bytes) -> bytes:
    """Return the hash that stands for a line's names and bytes in its leaf, and says nothing of them."""
    return sha256(salt + names_of(row) + body).digest()


def names_of(row: Mapping[str, Any]) -> bytes:
    """Return the names of a line as one line of JSON."""
    return json.dumps([row[name] for name in NAMES]).encode() + b"\n"


def leaf_of(row: Mapping[str, Any]) -> bytes:
    """Return the leaf of a row: one JSON object of its public columns that are not null, and its commitment."""
    columns = {name: _exact(row[name]) for name in PUBLIC if row[name] is not None}
    columns["commitment"] = row["commitment"].hex()
    return _encode(columns).encode()


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _exact(value: Any) -> Any:
    """Return the value as every database gives it back: some know no negative zero."""
    return value + 0.0 if isinstance(value, float) else value


def genesis(identity: bytes) -> Frontier:
    """Return the frontier of a new log, whose first leaf is its own identity: random bytes that no other log has."""
    return Frontier().appended([leaf_hash(identity)])


def origin_of(name: str, identity: bytes) -> str:
    """Return the origin of a log, as its checkpoints give it.

    A ledger that was built again has other salts, so it is another log: two that disagree must not share an origin.
    """
    return f"{name}/{identity.hex()}"
