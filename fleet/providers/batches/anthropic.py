"""Message batches of Anthropic.

    in_progress, canceling   RUNNING, and so is any word not known here
    ended                    ENDED; each row is `succeeded`, `errored`, `canceled` or `expired`; only the first is
                             charged

A batch takes no name, so one that was made just before a crash is known by its rows, which are readable once it ended.
Until then any batch of as many rows may be the one: better to wait for it than to pay twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind
from fleet.providers.batches.api import (
    CLOCKS_SECONDS,
    PAGE,
    PATIENCE_SECONDS,
    UNFINISHED,
    BatchRefused,
    BatchState,
    Found,
    Progress,
    Row,
    Rows,
    UnreadRow,
    id_in,
    lines,
    read,
)
from fleet.providers.failures import failure_of
from fleet.providers.sdk import Reply, Sdk

log = get_logger(__name__)

PROVIDER = "anthropic"
PATH = "/messages/batches"
RUNNING = frozenset({"in_progress", "canceling"})
NOT_RUN = frozenset({"canceled", "expired"})

STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of each type of error; any other type is a 500."""


class AnthropicBatches:
    """Implements `BatchApi` for one key at Anthropic."""

    def __init__(self, sdk: Sdk, key: Callable[[], str]) -> None:
        self._sdk = sdk
        self._key = key

    async def create(self, name: str, rows: Sequence[Row]) -> str:
        wanted = {"requests": [{"custom_id": row.id, "params": row.body} for row in rows]}
        return id_in(await self._ask("post", PATH, wanted), PROVIDER)

    async def find(self, name: str, rows: Sequence[str], since: float) -> str | Found:
        after, undecided = "", False
        while True:
            page = await self._ask("get", f"{PATH}?limit={PAGE}{after}")
            listed = [each for each in page.get("data") or () if isinstance(each, dict)]
            for each in listed:
                if _made_at(each) < since - CLOCKS_SECONDS:
                    return Found.UNDECIDED if undecided else Found.ABSENT
                if _size(each) != len(rows):
                    continue
                if each.get("processing_status") != "ended":
                    undecided = True
                elif await self._has(id_in(each, PROVIDER), rows):
                    return id_in(each, PROVIDER)
            if not page.get("has_more") or not listed:
                return Found.UNDECIDED if undecided else Found.ABSENT
            after = f"&after_id={listed[-1].get('id')}"

    async def _has(self, batch_id: str, rows: Sequence[str]) -> bool:
        found = await self.rows(batch_id, BatchState(Progress.ENDED, "ended"))
        return not found.found.keys().isdisjoint(rows)

    async def state(self, batch_id: str) -> BatchState:
        described = await self._ask("get", f"{PATH}/{batch_id}")
        word = str(described.get("processing_status"))
        if word == "ended":
            return BatchState(Progress.ENDED, word)
        if word not in RUNNING:
            log.warning("provider_batch_in_unknown_state", provider=PROVIDER, state=word[:40])
        return BatchState(Progress.RUNNING, word)

    async def rows(self, batch_id: str, state: BatchState) -> Rows:
        reply = await self._sdk.request("get", f"{PATH}/{batch_id}/results", self._key(), PATIENCE_SECONDS)
        if reply.status == 404:
            return Rows(complete=False)
        if reply.status != 200:
            raise BatchRefused(failure_of(PROVIDER, reply, time.time()), reply.status)
        read_lines, whole = lines(reply.body)
        return Rows({line["custom_id"]: _row(line.get("result")) for line in read_lines}, whole)

    async def cancel(self, batch_id: str) -> None:
        await self._ask("post", f"{PATH}/{batch_id}/cancel", {})

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return read(PROVIDER, await self._sdk.request(method, path, self._key(), PATIENCE_SECONDS, body), time.time())


def _made_at(described: Mapping[str, Any]) -> float:
    """Return when the batch was made, in unix seconds; one that does not say so may have been made just now."""
    try:
        return datetime.fromisoformat(str(described.get("created_at"))).timestamp()
    except ValueError:
        return time.time()


def _size(described: Mapping[str, Any]) -> int:
    counts = described.get("request_counts")
    return sum(each for each in counts.values() if type(each) is int) if isinstance(counts, dict) else 0


def _row(result: Any) -> UnreadRow:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded":
        return Reply(200, {}, json.dumps(result.get("message")).encode())
    if kind in NOT_RUN:
        return UNFINISHED
    if kind != "errored":
        return Failure(FailureKind.MALFORMED, "the batch says nothing known of this row")
    error = result.get("error")
    inner = error.get("error") if isinstance(error, dict) else None
    word = str(inner.get("type")) if isinstance(inner, dict) else ""
    return Reply(STATUSES.get(word, 500), {}, json.dumps(error).encode())
