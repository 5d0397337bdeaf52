"""Batches of OpenAI and of Groq, which has the same objects under other paths.

validating, in_progress, finalizing, cancelling   RUNNING, and so is any word not known here
completed, expired, cancelled                     ENDED; finished rows are in the output file, the others' errors in
                                                  the error file; after `expired` and `cancelled` a row may be in none
failed                                            REFUSED; a full queue of tokens is told here and not when it is made
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind
from fleet.providers.batches.api import (
    CLOCKS_SECONDS,
    ID,
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
from fleet.providers.failures import WORD, failure_of
from fleet.providers.sdk import Reply, Sdk

log = get_logger(__name__)

ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"
NAME = "fleet_batch"
"""The key of our name in a batch's metadata."""

RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
CUT_SHORT = frozenset({"expired", "cancelled"})
NOT_RUN = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of rows that were not run."""


class OpenAIBatches:
    """Implements `BatchApi` for one key at OpenAI, or at Groq, whose list of batches comes whole."""

    def __init__(self, provider: str, sdk: Sdk, key: Callable[[], str], is_groq: bool = False) -> None:
        self._provider = provider
        self._sdk = sdk
        self._key = key
        self._is_groq = is_groq

    async def create(self, name: str, rows: Sequence[Row]) -> str:
        """See `BatchApi`. A crash between the two requests leaves a file that expires by itself."""
        content = "".join(json.dumps(_line(row), ensure_ascii=False) + "\n" for row in rows).encode(
            errors="surrogatepass"
        )
        uploaded = await self._ask("post", "/files", {"purpose": "batch"}, (f"{name}.jsonl", content))
        wanted = {
            "input_file_id": id_in(uploaded, self._provider),
            "endpoint": ENDPOINT,
            "completion_window": WINDOW,
            "metadata": {NAME: name},
        }
        return id_in(await self._ask("post", "/batches", wanted), self._provider)

    async def find(self, name: str, rows: Sequence[str], since: float) -> str | Found:
        after = ""
        while True:
            page = await self._ask("get", f"/batches{'' if self._is_groq else f'?limit={PAGE}{after}'}")
            listed = [each for each in page.get("data") or () if isinstance(each, dict)]
            for each in listed:
                if (each.get("metadata") or {}).get(NAME) == name:
                    return id_in(each, self._provider)
            is_last = self._is_groq or not page.get("has_more") or not listed
            if is_last or (listed[-1].get("created_at") or 0) < since - CLOCKS_SECONDS:
                return Found.ABSENT
            after = f"&after={listed[-1].get('id')}"

    async def state(self, batch_id: str) -> BatchState:
        described = await self._ask("get", f"/batches/{batch_id}")
        word = str(described.get("status"))
        if word == "failed":
            return BatchState(Progress.REFUSED, word, _refusal(described, self._provider))
        if word != "completed" and word not in CUT_SHORT:
            if word not in RUNNING:
                log.warning("provider_batch_in_unknown_state", provider=self._provider, state=word[:40])
            return BatchState(Progress.RUNNING, word)
        files = [described.get(f"{kind}_file_id") for kind in ("output", "error")]
        known = [each for each in files if isinstance(each, str) and ID.fullmatch(each)]
        return BatchState(Progress.ENDED, word, files=known, cut_short=word in CUT_SHORT)

    async def rows(self, batch_id: str, state: BatchState) -> Rows:
        found: dict[str, UnreadRow] = {}
        complete = True
        for file_id in state.files:
            reply = await self._sdk.request("get", f"/files/{file_id}/content", self._key(), PATIENCE_SECONDS)
            if reply.status == 404:
                complete = False
                continue
            if reply.status != 200:
                raise BatchRefused(failure_of(self._provider, reply, time.time()), reply.status)
            read_lines, whole = lines(reply.body)
            found = {line["custom_id"]: _row(line) for line in read_lines} | found  # what was answered stands
            complete = complete and whole
        return Rows(found, complete)

    async def cancel(self, batch_id: str) -> None:
        await self._ask("post", f"/batches/{batch_id}/cancel", {})

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, file: tuple[str, bytes] | None = None
    ) -> Any:
        reply = await self._sdk.request(method, path, self._key(), PATIENCE_SECONDS, body, file)
        return read(self._provider, reply, time.time())


def _line(row: Row) -> Mapping[str, Any]:
    return {"custom_id": row.id, "method": "POST", "url": ENDPOINT, "body": row.body}


def _refusal(described: Mapping[str, Any], provider: str) -> Failure:
    errors: Any = (described.get("errors") or {}).get("data")
    code = str(errors[0].get("code")) if errors else ""
    word = f" ({code})" if WORD.fullmatch(code) else ""
    kind = FailureKind.OVERLOADED if code == "token_limit_exceeded" else FailureKind.INVALID_REQUEST
    return Failure(kind, f"{provider} took none of the batch's rows{word}")


def _row(line: Mapping[str, Any]) -> UnreadRow:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        return Reply(response["status_code"], {}, json.dumps(response.get("body")).encode())
    if isinstance(error, dict) and error.get("code") in NOT_RUN:
        return UNFINISHED
    return Failure(FailureKind.SERVER_ERROR, "the batch has an error in place of this row's reply")
