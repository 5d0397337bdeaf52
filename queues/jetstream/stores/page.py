"""A page of the book of spend: one account that every dispatcher writes to, by compare-and-set.

Requests that a process makes while its write is under way join the next one, so that it has one write in flight per
account, however many calls it makes. Each write carries its writer and a number. If a confirmation is lost, the next
reading tells by them whether the write was stored: nothing is booked twice and nothing stays reserved.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from fleet.logs import get_logger
from fleet.model.errors import QueueUnavailable
from fleet.model.money import Account, NanoUsd, Refusal
from policies import money
from queues.jetstream.stores.cells import Cell, Cells

BACKOFF_SECONDS = 0.001
MOST_BACKOFF_SECONDS = 0.25
"""Bounds of the pause between writes that lost against another process: at first as long as a write takes, at most
long enough for as many dispatchers as there may be to write one after another.
"""

OUTAGE_SECONDS = 0.5
"""Seconds between tries to book what was spent while the broker is away."""

WRITERS = 256
"""Maximum writers a record remembers; a dispatcher that wrote before so many others have since is long gone."""


log = get_logger(__name__)


class Record(BaseModel):
    """An account as it is stored. `commits` holds each writer's last number, the latest writer at the end."""

    # Required, so that other JSON does not pass for an account that has spent nothing.
    spent: NanoUsd
    open: dict[int, NanoUsd] = {}
    commits: dict[str, int] = {}

    @property
    def account(self) -> Account:
        return Account(self.spent, self.open)


@dataclass(frozen=True, slots=True)
class _Claim:
    amount: NanoUsd
    limit: NanoUsd | None
    at: float
    answer: asyncio.Future[Account | Refusal]


@dataclass(frozen=True, slots=True)
class _Settlement:
    reserved: NanoUsd
    actual: NanoUsd
    minute: int


@dataclass(slots=True)
class _Commit:
    """A write: the requests in it, and the account before and after it."""

    number: int
    settled: list[_Settlement]
    before: Account
    after: Account
    answers: list[tuple[_Claim, Account | Refusal]] = field(default_factory=list)

    @property
    def granted(self) -> list[_Claim]:
        return [claim for claim, answer in self.answers if isinstance(answer, Account)]


class Page:
    """An account. `on_written` gets its state before and after every write of this process."""

    def __init__(
        self,
        key: str,
        cells: Cells,
        open_seconds: float,
        on_read: Callable[[Account], None],
        on_written: Callable[[Account, Account], None],
    ) -> None:
        self._key = key
        self._cells = cells
        self._writer = uuid.uuid4().hex[:12]
        self._open_seconds = open_seconds
        self._on_read = on_read
        self._on_written = on_written
        self._claims: list[_Claim] = []
        self._owed: list[_Settlement] = []
        self._doubts: dict[int, _Commit] = {}
        self._number = 0
        self._known: tuple[Record, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def reserve(self, amount: NanoUsd, limit: NanoUsd | None, now: float) -> Account | Refusal:
        """Return the account with the money reserved in it, or the refusal.

        Raises: QueueUnavailable; then nothing is reserved.
        """
        claim = _Claim(amount, limit, now, asyncio.get_running_loop().create_future())
        self._claims.append(claim)
        self._wake()
        return await claim.answer

    def settle(self, reserved: NanoUsd, actual: NanoUsd, minute: int) -> None:
        self._owed.append(_Settlement(reserved, actual, minute))
        self._wake()

    @property
    def idle(self) -> bool:
        return self._task is None or self._task.done()

    async def close(self, patience_seconds: float) -> None:
        """Book what is owed, in the time there is; what is left stays reserved and counts as spent for one day."""
        if self._task is not None and not self._task.done():
            await asyncio.wait((self._task,), timeout=patience_seconds)
            self._task.cancel()

    def _wake(self) -> None:
        if self.idle:
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._claims or self._owed or self._doubts:
            try:
                await self._commit()
                continue
            except QueueUnavailable as error:
                self._fail(error)
            except Exception as error:  # callers that wait for an answer must get one, even from a bug
                log.exception("spend_not_booked", page=self._key)
                self._fail(QueueUnavailable(f"internal error: {type(error).__name__}"))
            await asyncio.sleep(OUTAGE_SECONDS)

    def _fail(self, error: QueueUnavailable) -> None:
        """Fail the claims: nobody waits for an outage to end, because a job has somewhere else to go."""
        self._known = None
        claims, self._claims = self._claims, []
        for claim in claims:
            if not claim.answer.done():
                claim.answer.set_exception(error)

    async def _commit(self) -> None:
        """Do everything that waits, in one write; again while others write in between."""
        lost = 0
        while True:
            fresh = self._known is None
            record, revision = self._known or await self._read()
            commit = self._compose(record)
            if not fresh and len(commit.granted) < len(commit.answers):
                self._known = None  # it may be old: others may have settled since
                continue
            if not (commit.granted or commit.settled or self._doubts):
                self._done(commit)
                return
            if await self._write(commit, record, revision):
                self._done(commit)
                return
            lost += 1
            await asyncio.sleep(random.uniform(0, min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0**lost)))

    async def _read(self) -> tuple[Record, int]:
        cell = await self._cells.read(self._key)
        record = record_of(cell)
        self._resolve(record)
        self._known = (record, cell.revision)
        self._on_read(record.account)
        return self._known

    def _resolve(self, record: Record) -> None:
        """Find the write in doubt that was stored: at most one, because all were made upon the same revision."""
        stored = self._doubts.get(record.commits.get(self._writer, 0))
        if stored is not None:
            self._doubts.clear()
            # What a write settles is always the oldest of what is owed, and nothing is struck off while in doubt.
            del self._owed[: len(stored.settled)]
            self._owed += [_give_back(claim) for claim in stored.granted]

    def _compose(self, record: Record) -> _Commit:
        """Compose a write; settlements come first, because they make room."""
        self._number += 1
        commit = _Commit(self._number, list(self._owed), record.account, record.account)
        for each in commit.settled:
            commit.after = money.settle(commit.after, each.reserved, each.actual, each.minute)
        for claim in self._claims:
            answer = money.reserve(commit.after, claim.amount, claim.limit, claim.at, self._open_seconds)
            commit.answers.append((claim, answer))
            if isinstance(answer, Account):
                commit.after = answer
        return commit

    async def _write(self, commit: _Commit, record: Record, revision: int) -> bool:
        others = {writer: number for writer, number in record.commits.items() if writer != self._writer}
        commits = dict([*others.items(), (self._writer, commit.number)][-WRITERS:])
        written = Record.model_construct(spent=commit.after.spent, open=dict(commit.after.open), commits=commits)
        self._doubts[commit.number] = commit
        stored_as = await self._cells.write(self._key, written.model_dump_json().encode(), revision)
        del self._doubts[commit.number]
        if stored_as is None:
            self._known = None
            return False
        # It was made upon the latest revision: what was in doubt until now can never be stored any more.
        self._doubts.clear()
        self._known = (written, stored_as)
        self._on_written(commit.before, commit.after)
        return True

    def _done(self, commit: _Commit) -> None:
        del self._claims[: len(commit.answers)]
        del self._owed[: len(commit.settled)]
        for claim, answer in commit.answers:
            if not claim.answer.done():
                claim.answer.set_result(answer)
            elif isinstance(answer, Account):  # the caller has gone
                self._owed.append(_give_back(claim))


def _give_back(claim: _Claim) -> _Settlement:
    return _Settlement(claim.amount, 0, money.minute_of(claim.at))


def record_of(cell: Cell) -> Record:
    if not cell.value:
        return Record(spent=0)
    try:
        return Record.model_validate_json(cell.value)
    except ValidationError as error:
        raise QueueUnavailable("an account of the bucket spend cannot be read") from error
