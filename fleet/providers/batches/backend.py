"""A target's batches at its provider, behind the Backend port.

The calls of one run go out as one batch for each tenant and common beginning, and each gets its own outcome:

    answered                           the answer
    an error in place of the reply     the failure that the same reply would be over HTTP
    not run (expired, cancelled)       overloaded, which nothing is charged for: the job goes to the usual target
    in no file, or its file is lost    malformed, which counts as charged: nobody knows whether it was run
    not there in its time              timeout, which counts as charged; once nobody waits the batch is cancelled

Closing a run leaves its batches alone: whoever is given the same calls again waits for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fleet.interruption import raise_own
from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind, Outcome
from fleet.model.call import Call
from fleet.model.errors import InvalidJob, QueueUnavailable
from fleet.providers.batches.api import (
    PATIENCE_SECONDS,
    UNFINISHED,
    BatchApi,
    BatchRefused,
    BatchState,
    Found,
    Progress,
    Row,
    outcome_of,
)
from fleet.providers.batches.claims import BatchClaims, BatchRecord, Stage
from fleet.providers.keys import KeyUnavailable
from fleet.providers.transport import UnusableReply
from fleet.providers.wire import Wire

log = get_logger(__name__)

MAKING_SECONDS = 3 * PATIENCE_SECONDS
"""Age at which a batch that is begun and not made belongs to a process that died: making one takes two requests."""

POLL_SECONDS = 30.0

LIMITS = frozenset({"max_tokens", "max_completion_tokens"})

UNCERTAIN = frozenset({408, 409})
"""Statuses below 500 that do not say that nothing was made."""

BEFORE_IT_IS_SENT = (KeyUnavailable, InvalidJob)
NOT_ANSWERED = (TimeoutError, ConnectionError, UnusableReply)
"""Errors after which a provider may or may not have done what it was asked."""

NOT_RECORDED = Failure(FailureKind.OVERLOADED, "the batch could not be recorded, so it was not sent")
LOST = Failure(FailureKind.MALFORMED, "the provider has lost this row, or the file with it")


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call that waits for its row."""

    row: Row
    call: Call
    outcome: asyncio.Future[Outcome]

    def end(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(eq=False, slots=True)
class _Watch:
    """A batch that is waited for. `ours`: this process made it, so nobody else waits for it."""

    batch_id: str
    ours: bool
    waiting: list[_Waiting] = field(default_factory=list)


class BatchBackend:
    """Runs calls on `target` of `provider` in its batches. `now` is unix seconds."""

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
        self._waiting: set[_Waiting] = set()
        self._watches: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """See `Backend.run`."""
        waiting = [self._encoded(call) for call in calls]
        self._waiting.update(waiting)
        for group in _groups([each for each in waiting if not each.outcome.done()]):
            self._start(self._send(group))
        pending = {asyncio.create_task(self._outcome(index, each)) for index, each in enumerate(waiting)}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                yield [task.result() for task in done]
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            self._waiting.difference_update(waiting)

    async def stop(self, ids: Collection[str]) -> None:
        """See `Backend.stop`. A row that was sent may be charged all the same."""
        for each in [each for each in self._waiting if each.call.id in ids]:
            each.end(Failure(FailureKind.CANCELLED, "the call was called off"))
            await self._give_up(each)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _encoded(self, call: Call) -> _Waiting:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        try:
            body = {name: value for name, value in self._wire.encode(call.request).items() if name != "service_tier"}
        except InvalidJob as error:
            outcome.set_result(Failure(FailureKind.INVALID_REQUEST, str(error)))
            body = {}
        return _Waiting(Row(row_id(call.id, body), body), call, outcome)

    async def _outcome(self, index: int, each: _Waiting) -> tuple[int, Outcome]:
        try:
            async with asyncio.timeout(each.call.timeout_seconds):
                return index, await asyncio.shield(each.outcome)
        except TimeoutError:
            seconds = each.call.timeout_seconds
            each.end(Failure(FailureKind.TIMEOUT, f"the batch was not done within {seconds:g} s"))
            await self._give_up(each)
            return index, each.outcome.result()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_up(self, each: _Waiting) -> None:
        """Wait no longer for a row; cancel the batch if it is ours and nobody waits any more."""
        for watch in [watch for watch in self._watches.values() if each in watch.waiting]:
            watch.waiting.remove(each)
            if watch.waiting:
                continue
            self._watches.pop(watch.batch_id)
            if watch.ours:
                await self._cancel(watch.batch_id)

    async def _cancel(self, batch_id: str) -> None:
        try:
            await self._api.cancel(batch_id)
        except Exception as error:  # it ends by itself, and what it cost is booked as if it ran
            log.warning("provider_batch_not_cancelled", provider=self._provider, error=type(error).__name__)

    async def _send(self, group: list[_Waiting]) -> None:
        """See to it that every call of the group has a batch, which some may have had before."""
        try:
            while group := [each for each in group if not each.outcome.done()]:
                group = await self._placed(group)
                if group:
                    await self._pause(POLL_SECONDS)
        except BaseException as error:
            raise_own(error)
            self._fail(group, error)

    def _fail(self, group: Sequence[_Waiting], error: BaseException) -> None:
        """End the calls of a group that could not be sent; none of them has been."""
        match error:
            case BatchRefused():
                failure = error.failure
            case QueueUnavailable():
                failure = NOT_RECORDED
            case KeyUnavailable():
                failure = Failure(FailureKind.AUTHENTICATION, str(error))
            case _:
                log.exception("provider_batch_not_sent", exc_info=error, provider=self._provider)
                failure = Failure(FailureKind.INTERNAL, f"{type(error).__name__} while sending a batch")
        for each in group:
            each.end(failure)

    async def _placed(self, group: list[_Waiting]) -> list[_Waiting]:
        """Find or make the batches of these calls; return those whose batch nobody can tell of yet."""
        records = await asyncio.gather(*(self._claims.of(each.row.id) for each in group))
        unsent = [each for each, record in zip(group, records, strict=True) if record is None]
        undecided: list[_Waiting] = []
        for record in {record.name: record for record in records if record is not None}.values():
            rows = [each for each, of in zip(group, records, strict=True) if of is not None and of.name == record.name]
            batch_id = await self._adopted(record)
            if batch_id is None:
                undecided += rows
            else:
                self._watch(batch_id, rows, ours=False)
        if unsent:
            undecided += await self._make(unsent)
        return undecided

    async def _adopted(self, record: BatchRecord) -> str | None:
        """Return the id of a batch that was begun before; None if that is not known, or it has just been dropped."""
        if record.stage is Stage.MADE:
            return record.batch_id
        if self._now() - record.begun_at < MAKING_SECONDS:
            return None
        return await self._settled(record)

    async def _settled(self, record: BatchRecord) -> str | None:
        """Ask the provider for a batch that may have been made; where it was not, drop the record."""
        try:
            found = await self._api.find(record.name, record.rows, record.begun_at)
        except (BatchRefused, *NOT_ANSWERED):
            return None
        if isinstance(found, str):
            await self._claims.made(record, found)
            log.warning("provider_batch_adopted", provider=self._provider, rows=len(record.rows))
            return found
        if found is Found.ABSENT:
            await self._claims.drop(record)
        return None

    async def _make(self, group: list[_Waiting]) -> list[_Waiting]:
        """Make a batch of the calls that nobody else has claimed; return those that are to be placed again."""
        record = await self._claims.begin(secrets.token_hex(8), [each.row.id for each in group], self._now())
        if record is None:
            return group
        ours = [each for each in group if each.row.id in record.rows]
        others = [each for each in group if each.row.id not in record.rows]
        try:
            batch_id = await self._api.create(record.name, [each.row for each in ours])
        except BaseException as error:
            raise_own(error)
            if not await self._is_certain(error, record):
                return group
            self._fail(ours, error)
            return others
        if not await self._noted(record, batch_id):
            await self._cancel(batch_id)  # we were slow, and somebody else has taken the rows over
            return group
        self._watch(batch_id, ours, ours=True)
        return others

    async def _noted(self, record: BatchRecord, batch_id: str) -> bool:
        try:
            return await self._claims.made(record, batch_id)
        except QueueUnavailable:  # whoever comes later finds it at the provider
            log.warning("provider_batch_not_recorded", provider=self._provider, rows=len(record.rows))
            return True

    async def _is_certain(self, error: BaseException, record: BatchRecord) -> bool:
        """Return whether no batch was made; the record is dropped then."""
        was_refused = isinstance(error, BatchRefused) and 400 <= error.status < 500 and error.status not in UNCERTAIN
        if was_refused or isinstance(error, BEFORE_IT_IS_SENT):
            await self._claims.drop(record)
            return True
        return False

    def _watch(self, batch_id: str, rows: Sequence[_Waiting], ours: bool) -> None:
        watch = self._watches.get(batch_id)
        if watch is None:
            watch = self._watches[batch_id] = _Watch(batch_id, ours)
            self._start(self._follow(watch))
        watch.waiting += rows
        for each in [each for each in rows if each.outcome.done()]:  # given up while its batch was made
            self._start(self._give_up(each))

    async def _follow(self, watch: _Watch) -> None:
        """Ask again and again until the batch has ended, and hand out its rows; the calls' own time bounds it."""
        while watch.waiting:
            try:
                if (outcomes := await self._ended(watch)) is not None:
                    self._watches.pop(watch.batch_id, None)
                    for each in watch.waiting:
                        each.end(outcomes[each.row.id])
                    return
            except BaseException as error:
                raise_own(error)
                log.warning("provider_batch_not_read", provider=self._provider, error=type(error).__name__)
            await self._pause(POLL_SECONDS)

    async def _ended(self, watch: _Watch) -> Mapping[str, Outcome] | None:
        """Return the outcome of every row that is waited for, once the batch has ended."""
        try:
            state = await self._api.state(watch.batch_id)
            match state.progress:
                case Progress.RUNNING:
                    return None
                case Progress.REFUSED:
                    return {each.row.id: state.why or LOST for each in watch.waiting}
                case Progress.ENDED:
                    return await self._rows(watch, state)
        except BatchRefused as error:
            if error.status != 404:
                raise
            return {each.row.id: LOST for each in watch.waiting}

    async def _rows(self, watch: _Watch, state: BatchState) -> Mapping[str, Outcome]:
        rows = await self._api.rows(watch.batch_id, state)
        missing = UNFINISHED if state.cut_short and rows.complete else LOST
        return {each.row.id: self._judged(each, rows.found.get(each.row.id, missing)) for each in watch.waiting}

    def _judged(self, each: _Waiting, unread: Any) -> Outcome:
        try:
            return outcome_of(
                unread, self._provider, lambda body: self._wire.decode(body, each.call.request), self._now()
            )
        except ValidationError:
            return Failure(FailureKind.MALFORMED, f"{self._provider} sent no usable answer")


def row_id(call_id: str, body: Mapping[str, Any]) -> str:
    """Return the `custom_id` of a call, the same in every process: a job is sent to a target's batches once.

    What is asked is part of it, so that a publisher who uses an id again is not given the answer to something else; the
    limit of the answer is not, which depends on the money at the moment.
    """
    asked = {name: value for name, value in body.items() if name not in LIMITS}
    said = json.dumps([call_id, asked], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _groups(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Group calls by tenant and by how their chats begin, which a provider's cache holds once for all of them."""
    groups: dict[tuple[str, str], list[_Waiting]] = {}
    for each in waiting:
        messages = each.call.request.get("messages") or [{}]
        first: Mapping[str, Any] = messages[0]
        shared = str(first.get("content")) if first.get("role") in ("system", "developer") else ""
        groups.setdefault((each.call.id.partition(".")[0], shared), []).append(each)
    return list(groups.values())
