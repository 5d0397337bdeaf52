"""Sends calls to a target's provider in its batches, and looks what has become of them.

The calls that are sent together make one batch for each tenant and common beginning. Each row has its own outcome:

    answered                           the answer
    an error in place of the reply     the failure that the same reply would be over HTTP
    not run (expired, cancelled)       overloaded, which nothing is charged for
    in no file, or its file is lost    malformed, which counts as charged: nobody knows whether it was run

Nothing is kept here that another process could not find out: whoever looks for the same calls finds their batch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from fleet.interruption import raise_own
from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind, Outcome
from fleet.model.batched import Batched, Observed
from fleet.model.call import Call
from fleet.model.errors import InvalidJob, QueueUnavailable
from fleet.model.money import Deposit
from fleet.providers.batches.api import (
    PATIENCE_SECONDS,
    UNFINISHED,
    BatchApi,
    BatchRefused,
    Found,
    Progress,
    Row,
    UnreadRow,
    outcome_of,
)
from fleet.providers.batches.claims import BatchClaims, BatchRecord, RowClaim, Stage
from fleet.providers.keys import KeyUnavailable
from fleet.providers.transport import UnusableReply
from fleet.providers.wire import Wire

log = get_logger(__name__)

MAKING_SECONDS = 4 * PATIENCE_SECONDS
"""Age at which a batch that is begun and not made belongs to a process that died.

Making one takes two requests, and does not begin more than `PATIENCE_SECONDS` after the record.
"""

LOOK_SECONDS = 10.0
"""Time for which what a provider said of a running batch holds for all who look for its rows."""

KEPT_BATCHES = 4
"""Batches that ended whose rows are kept here, for those who look for them a little later."""

REMEMBERED = 100
"""Batches from which their completion law is learned."""

LIMITS = frozenset({"max_tokens", "max_completion_tokens"})

UNCERTAIN = frozenset({408, 409})
"""Statuses below 500 that do not say that nothing was made."""

NOT_ANSWERED = (TimeoutError, ConnectionError, UnusableReply)
"""Errors after which a provider may or may not have done what it was asked."""

LOST = Failure(FailureKind.MALFORMED, "the provider has lost this row, or the file with it")


@dataclass(frozen=True, slots=True)
class _Ended:
    """What an ended batch says of rows by id, and of those it does not have."""

    rows: Mapping[str, UnreadRow]
    others: Failure


@dataclass(frozen=True, slots=True)
class _Row:
    """A call as it is sent."""

    row: Row
    call: Call
    deposit: Deposit | None


class ProviderBatches:
    """The batches of `target` at `provider`. `now` is unix seconds."""

    def __init__(
        self,
        provider: str,
        wire: Wire,
        api: BatchApi,
        claims: BatchClaims,
        now: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._provider = provider
        self._wire = wire
        self._api = api
        self._claims = claims
        self._now = now
        self._pause = pause
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._running_until: dict[str, float] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._seen: OrderedDict[str, Observed] = OrderedDict()
        self._begun: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def observed(self) -> tuple[Observed, ...]:
        """Return how long the batches seen here took, and how long those that run have been running."""
        now = self._now()
        return (*self._seen.values(), *(Observed(now - at, ended=False) for at in self._begun.values()))

    async def look(self, calls: Sequence[Call]) -> Sequence[Batched | None]:
        """Return for each call the batch that it is in, with its outcome if there is one; None: it is in none.

        Raises: QueueUnavailable.
        """
        rows = [self._as_row(call, None) for call in calls]
        claims = await self._claims.of([each.row.id for each in rows if isinstance(each, _Row)])
        return await asyncio.gather(*(self._looked(each, claims) for each in rows))

    async def _looked(self, each: _Row | Failure, claims: Mapping[str, RowClaim]) -> Batched | None:
        if isinstance(each, Failure) or (claim := claims.get(each.row.id)) is None:
            return None
        record = claim.record
        batched = Batched(record.name, record.begun_at, len(record.rows))
        batch_id = await self._id_of(record)
        if batch_id is None:
            return batched
        ended = await self._end_of(batch_id, record)
        if ended is None:
            return batched
        outcome = self._judged(each, ended.rows.get(each.row.id, ended.others))
        return replace(batched, deposit=await self._claims.take_deposit(claim), outcome=outcome)

    async def send(self, calls: Sequence[tuple[Call, Deposit | None]]) -> Sequence[Failure | bool]:
        """Send the calls, none of which is in a batch as far as anybody knows.

        Return for each whether it was: False if somebody else has sent it meanwhile, a failure if it was not.
        The calls' time-outs say when nobody waits any more: the batch is cancelled then, unless it has ended.

        Raises: QueueUnavailable; then nothing was sent that is not on record.
        """
        rows = [self._as_row(*each) for each in calls]
        sent: dict[str, Failure | bool] = {}
        for group in _groups([each for each in rows if isinstance(each, _Row)]):
            sent |= await self._make(group)
        return [each if isinstance(each, Failure) else sent[each.row.id] for each in rows]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _as_row(self, call: Call, deposit: Deposit | None) -> _Row | Failure:
        try:
            body = {name: value for name, value in self._wire.encode(call.request).items() if name != "service_tier"}
        except InvalidJob as error:
            return Failure(FailureKind.INVALID_REQUEST, str(error))
        return _Row(Row(row_id(call.id, body), body), call, deposit)

    async def _make(self, group: Sequence[_Row]) -> Mapping[str, Failure | bool]:
        """Make a batch of the calls that nobody else has claimed."""
        sent: dict[str, Failure | bool] = {each.row.id: False for each in group}
        deposits = {each.row.id: each.deposit for each in group}
        record = await self._claims.begin(secrets.token_hex(8), deposits, self._now())
        if record is None:
            return sent
        if self._now() - record.begun_at > PATIENCE_SECONDS:  # others would take us for dead before it is made
            await self._claims.drop(record)
            return sent
        ours = [each for each in group if each.row.id in record.rows]
        made = await self._created(record, ours)
        return sent | dict.fromkeys(record.rows, made)

    async def _created(self, record: BatchRecord, rows: Sequence[_Row]) -> Failure | bool:
        """Create the batch. Where nobody knows whether that worked, the record says so to whoever looks."""
        try:
            batch_id = await self._api.create(record.name, [each.row for each in rows])
        except BaseException as error:
            raise_own(error)
            failure = self._certain(error)
            if failure is not None:
                await self._claims.drop(record)
            return True if failure is None else failure
        self._begun[record.name] = record.begun_at
        try:
            was_noted = await self._claims.made(record, batch_id)
        except QueueUnavailable:  # whoever looks finds it at the provider
            log.warning("provider_batch_not_recorded", provider=self._provider, rows=len(rows))
            was_noted = True
        if not was_noted:  # we were slow, and somebody else has taken the rows over
            await self._cancel(batch_id)
        else:
            self._start(self._given_up_in(max(each.call.timeout_seconds for each in rows), batch_id, record))
        return was_noted

    def _certain(self, error: BaseException) -> Failure | None:
        """Return the failure if it is certain that no batch was made."""
        if isinstance(error, KeyUnavailable):
            return Failure(FailureKind.AUTHENTICATION, str(error))
        if isinstance(error, BatchRefused) and 400 <= error.status < 500 and error.status not in UNCERTAIN:
            return error.failure
        if not isinstance(error, (BatchRefused, *NOT_ANSWERED)):
            log.exception("provider_batch_not_sent", exc_info=error, provider=self._provider)
        return None

    async def _id_of(self, record: BatchRecord) -> str | None:
        """Return the provider's id of a batch; None if it is not known, or the batch has just been dropped."""
        if record.stage is Stage.MADE:
            return record.batch_id
        if self._now() - record.begun_at < MAKING_SECONDS:
            return None
        async with self._asking.setdefault(record.name, asyncio.Lock()):
            try:
                found = await self._api.find(record.name, record.rows, record.begun_at)
            except (BatchRefused, *NOT_ANSWERED):
                return None
        if isinstance(found, str):
            if await self._claims.made(record, found):
                log.warning("provider_batch_adopted", provider=self._provider, rows=len(record.rows))
            return found
        if found is Found.ABSENT:
            await self._claims.drop(record)
        return None

    async def _end_of(self, batch_id: str, record: BatchRecord) -> _Ended | None:
        """Return the rows of a batch that has ended; None while it runs, or nobody can tell."""
        async with self._asking.setdefault(record.name, asyncio.Lock()):
            if batch_id in self._ended:
                return self._ended[batch_id]
            if self._now() < self._running_until.get(batch_id, -math.inf):
                return None
            try:
                ended = await self._asked(batch_id)
            except (BatchRefused, *NOT_ANSWERED) as error:
                log.warning("provider_batch_not_read", provider=self._provider, error=type(error).__name__)
                ended = None
            self._note(batch_id, record, ended)
            return ended

    def _note(self, batch_id: str, record: BatchRecord, ended: _Ended | None) -> None:
        if ended is None:
            self._running_until[batch_id] = self._now() + LOOK_SECONDS
            self._begun.setdefault(record.name, record.begun_at)
            return
        self._running_until.pop(batch_id, None)
        self._begun.pop(record.name, None)
        self._asking.pop(record.name, None)
        self._ended[batch_id] = ended
        while len(self._ended) > KEPT_BATCHES:
            self._ended.popitem(last=False)
        self._remember(record, ended=bool(ended.rows))

    def _remember(self, record: BatchRecord, ended: bool) -> None:
        self._seen.setdefault(record.name, Observed(self._now() - record.begun_at, ended))
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    async def _asked(self, batch_id: str) -> _Ended | None:
        try:
            state = await self._api.state(batch_id)
        except BatchRefused as error:
            if error.status != 404:
                raise
            return _Ended({}, LOST)
        match state.progress:
            case Progress.RUNNING:
                return None
            case Progress.REFUSED:
                return _Ended({}, state.why or LOST)
            case Progress.ENDED:
                rows = await self._api.rows(batch_id, state)
                return _Ended(rows.found, UNFINISHED if state.cut_short and rows.complete else LOST)

    def _judged(self, each: _Row, unread: UnreadRow) -> Outcome:
        try:
            return outcome_of(
                unread, self._provider, lambda body: self._wire.decode(body, each.call.request), self._now()
            )
        except ValidationError:
            return Failure(FailureKind.MALFORMED, f"{self._provider} sent no usable answer")

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _given_up_in(self, seconds: float, batch_id: str, record: BatchRecord) -> None:
        """Cancel the batch when nobody waits for it any more; how long it had run stays known."""
        await self._pause(seconds)
        if batch_id in self._ended:
            return
        self._begun.pop(record.name, None)
        self._remember(record, ended=False)
        await self._cancel(batch_id)

    async def _cancel(self, batch_id: str) -> None:
        try:
            await self._api.cancel(batch_id)
        except Exception as error:  # it ends by itself, and what it cost is booked as if it ran
            log.warning("provider_batch_not_cancelled", provider=self._provider, error=type(error).__name__)


def row_id(call_id: str, body: Mapping[str, Any]) -> str:
    """Return the `custom_id` of a call, the same in every process: a job is sent to a target's batches once.

    What is asked is part of it, so that a publisher who uses an id again is not given the answer to something else; the
    limit of the answer is not, which depends on the money at the moment.
    """
    asked = {name: value for name, value in body.items() if name not in LIMITS}
    said = json.dumps([call_id, asked], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _groups(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Group calls by tenant and by how their chats begin, which a provider's cache holds once for all of them."""
    groups: dict[tuple[str, str], list[_Row]] = {}
    for each in rows:
        messages = each.call.request.get("messages") or [{}]
        first: Mapping[str, Any] = messages[0]
        shared = str(first.get("content")) if first.get("role") in ("system", "developer") else ""
        groups.setdefault((each.call.id.partition(".")[0], shared), []).append(each)
    return list(groups.values())
