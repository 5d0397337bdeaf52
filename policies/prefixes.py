"""The prefix plan of a file of chats: the order of rows in which an engine reads each common beginning once.

An engine keeps what it computed for a prompt in blocks of its KV cache. A later prompt that begins alike reads those
blocks and computes only the rest, as long as the blocks are there: a full cache drops the ones nobody used for longest.
vLLM takes requests as they come, so whoever sends them decides. The plan sends rows that begin alike one after the
other, those that begin alike for longest next to each other.

A plan is an order of one tenant's rows and nothing more. The rows wait in the tenant's own queue as they would without
a plan, and tenants take turns as before (`policies.fairness.round_robin`), so a group never gets more than its turn.

The plan keeps keys, no texts: 4 bytes for each boundary that a row reaches and 12 more, 76 bytes at most. To order rows
takes some 20 µs each and, for a moment, about as much memory again.
"""

from __future__ import annotations

import json
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from fleet.model.job import ChatRequest
from policies.features.needs import needs_of
from policies.rules.sections import Estimates

BOUNDARIES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384)
"""Bytes after which the beginnings of two chats are compared; two that part in between count as alike up to the last
one. The first is about one block of a GPU's cache, 16 tokens; each is at most half as long again as the one before, but
for the last, beyond which nearly everything is alike."""

_STEPS = tuple(pairwise((0, *BOUNDARIES)))

RUN_TOKENS = 16_384
"""Maximum tokens of a run, in which rows of a group are sent longest answers first: less than half of what the smallest
KV cache of the shipped profiles holds, so that mixing never separates rows by more than a cache keeps."""

BATCH_ROWS = 64
"""Rows over which long and short answers are mixed: a full micro-batch."""

ROUTED_BYTES = 256
"""Bytes of a chat that decide which of several replicas gets it; a boundary. Fewer are not worth it."""

Rows: TypeAlias = "array[int]"


def planned_order(requests: Iterable[ChatRequest], estimates: Estimates) -> Sequence[int]:
    """Return the places of the requests, counted from 0, in the order in which to send them.

    All rows with a common key are together. Groups, and rows that no other row is like, come as they first appear; a
    file without a common beginning keeps its order, but for the mixing of long and short answers. Equal requests have
    an equal order, in every process.
    """
    plan = _Plan(estimates)
    for request in requests:
        plan.add(request)
    return plan.order()


class _Plan:
    """The keys of the rows, and the tree that they form."""

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self._keys = array("I")
        self._starts = array("I", [0])
        self._inputs = array("I")
        self._outputs = array("I")

    def __len__(self) -> int:
        return len(self._inputs)

    def add(self, request: ChatRequest) -> None:
        needs = needs_of(request, self._estimates)
        self._keys.extend(prefix_keys(request))
        self._starts.append(len(self._keys))
        self._inputs.append(needs.input_tokens)
        self._outputs.append(needs.output_tokens or self._estimates.output_tokens)

    def order(self) -> Sequence[int]:
        ordered = array("I")
        for boundaries, rows in self._groups():
            for run in self._runs(boundaries, rows):
                ordered.extend(self._mixed(run))
        return ordered

    def _groups(self) -> Iterator[tuple[int, Rows]]:
        """Yield the leaves of the tree: rows that are alike up to so many boundaries, and with no other row beyond."""
        branches = [(0, array("I", range(len(self))))]
        while branches:
            boundaries, rows = branches.pop()
            alone, groups = self._parted(boundaries, rows)
            if alone:
                yield boundaries, alone
            branches.extend((boundaries + 1, group) for group in reversed(groups))

    def _parted(self, boundary: int, rows: Rows) -> tuple[Rows, list[Rows]]:
        """Part rows by their keys at a boundary: those with a key of their own or none, and groups of the others."""
        keys = self._keys_at(boundary, rows)
        common = Counter(keys)
        alone, groups = array("I"), dict[int, Rows]()
        for row, key in zip(rows, keys, strict=True):
            if key is None or common[key] == 1:
                alone.append(row)
            else:
                groups.setdefault(key, array("I")).append(row)
        return alone, list(groups.values())

    def _keys_at(self, boundary: int, rows: Rows) -> list[int | None]:
        """Return the key of each row at a boundary; None for a row that does not reach it."""
        keys, starts = self._keys, self._starts
        return [keys[at] if (at := starts[row] + boundary) < starts[row + 1] else None for row in rows]

    def _runs(self, boundaries: int, rows: Rows) -> Iterator[Rows]:
        """Cut a group into runs that a KV cache can hold; what the rows have in common is in it once."""
        common = int(BOUNDARIES[boundaries - 1] / self._estimates.characters_per_token) if boundaries else 0
        run, tokens = array("I"), 0
        for row in rows:
            own = max(0, self._inputs[row] - common) + self._outputs[row]
            if run and tokens + own > RUN_TOKENS:
                yield run
                run, tokens = array("I"), 0
            run.append(row)
            tokens += own
        if run:
            yield run

    def _mixed(self, run: Rows) -> Sequence[int]:
        """Deal the run out to micro-batches, longest expected answers first, so that none has all the long ones."""
        if len({self._outputs[row] for row in run}) == 1:
            return run
        longest_first = sorted(run, key=lambda row: -self._outputs[row])
        batches = -(-len(run) // BATCH_ROWS)
        return [row for batch in range(batches) for row in longest_first[batch::batches]]


def prefix_keys(request: ChatRequest) -> list[int]:
    """Return a key of the chat's beginning up to each boundary that it reaches.

    Keys are chained, so that two chats with the same key there are alike up to it, but for one pair in four billion.
    They are the same in every process.
    """
    text = _beginning(request)
    # An engine serves one model: another one's rows do not begin alike.
    key, keys = zlib.crc32(str(request.get("model")).encode()), list[int]()
    for start, end in _STEPS[: bisect_right(BOUNDARIES, len(text))]:
        key = zlib.crc32(text[start:end], key)
        keys.append(key)
    return keys


def routing_key(request: ChatRequest) -> int | None:
    """Return the key by which rows of a group find the same replica; None for a chat too short to gain by it."""
    keys = prefix_keys(request)
    at = BOUNDARIES.index(ROUTED_BYTES)
    return keys[at] if at < len(keys) else None


def _beginning(request: ChatRequest) -> bytes:
    """Return the beginning of the chat as an engine reads it: its tools, then role and content of each message."""
    parts = [json.dumps(tools)] if (tools := request.get("tools")) else []
    length = sum(map(len, parts))
    for message in request.get("messages", ()):
        parts.append(said := _said(message))
        length += len(said)
        if length >= BOUNDARIES[-1]:
            break
    return "".join(parts).encode(errors="replace")


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:  # a role and a text, as most are
        return f"{message.get('role')}\n{content}\n"
    return json.dumps(message)
