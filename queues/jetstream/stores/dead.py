"""Dead letters on NATS, and their twin in this process: read, redriven, removed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Any

from pydantic_core import from_json

from fleet.logs import get_logger
from fleet.model.errors import InvalidJob
from fleet.model.job import Cloud, Job, JobTerms, Lane
from fleet.model.result import DeadLetter, Kept, Work
from fleet.model.submission import Submission
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.queue import store
from queues.jetstream.stores.journal import recorded
from queues.memory import MemoryBroker
from queues.wire.dead_letter import decode_dead
from queues.wire.job import decode_job
from queues.wire.letters import accepted, submission_message
from queues.wire.subjects import DEAD, dead_subject, job_subject, work_subject
from queues.wire.work import decode_work

REDRIVEN_FROM = "redriven_from"
"""The key in a job's metadata that names the job whose dead letter it comes from."""

MOST_LOOKED = 500
"""Numbers asked for at once where letters have been dropped; a letter takes up to 700 KB."""

log = get_logger(__name__)


def redriven(kept: Kept, now: float) -> Submission:
    """Return the letter's job under a new id, always the same for one letter, so that a repetition is recognised.

    A deadline or a start that has passed by `now` (unix seconds) is left out.

    Raises: InvalidJob if the letter holds no job.
    """
    letter = kept.letter
    job = _job_in(letter)
    terms: dict[str, Any] = {each.name: getattr(job, each.name) for each in fields(JobTerms)}
    terms["metadata"] = {**job.metadata, REDRIVEN_FROM: letter.job_id}
    for moment in ("deadline_at", "not_before_at"):
        terms[moment] = None if terms[moment] is None or terms[moment] <= now else terms[moment]
    return Submission(
        _new_id(kept), job.task, job.request, lane=job.lane, plan=job.plan, cloud=_cloud(job.cloud), **terms
    )


def _new_id(kept: Kept) -> str:
    name = f"{kept.letter.tenant}.{kept.letter.job_id}.{kept.sequence}"
    return "redriven-" + hashlib.sha256(name.encode()).hexdigest()[:32]


def _job_in(letter: DeadLetter) -> Job:
    """Return the job that the letter's bytes hold, as they lay in WORK or in JOBS.

    Raises: InvalidJob if they hold none.
    """
    lane = letter.lane or Lane.STANDARD
    work = decode_work(letter.body, work_subject(_target_in(letter.body), lane, letter.tenant))
    if isinstance(work, Work):
        return work.job
    job = decode_job(letter.body, None, job_subject(lane, letter.tenant), letter.at)
    if isinstance(job, Job):
        return job
    raise InvalidJob("body", f"holds no job that could be submitted again: {job.problem.message}")


def _target_in(body: bytes) -> str:
    """Return the target in the body, which must agree with the subject it lay under."""
    try:
        return str(from_json(body)["target"])
    except (ValueError, TypeError, KeyError):
        return "none"


def _cloud(cloud: Cloud) -> str | list[str]:
    if cloud.providers is None:
        return "allow"
    return sorted(cloud.providers) or "deny"


def _kept(sequence: int, body: bytes) -> Kept | None:
    try:
        return Kept(sequence, decode_dead(body))
    except (ValueError, AttributeError) as error:
        log.warning("dead_letter_skipped", sequence=sequence, problem=str(error))
        return None


class JetStreamDeadLetters:
    """Implements `fleet.ports.DeadLetters` on the stream DEAD."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamDeadLetters:
        """Return the dead letters on a connection of their own, closed with them.

        Raises: QueueUnavailable; ConfigError if the login is refused.
        """
        return cls(await connect(url, name="fleet-dead", login=login))

    async def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        async for message in recorded(self._connection, DEAD, dead_subject(tenant or "*")):
            if (kept := _kept(message.sequence, message.data)) is not None:
                yield kept

    async def latest(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        info = await api.stream_info(self._connection, DEAD)
        end = info.last_sequence + 1 if before is None else min(before, info.last_sequence + 1)
        found: list[Kept] = []
        looked = limit
        while len(found) < limit and end > info.first_sequence:
            start = max(info.first_sequence, end - looked)
            places = [(DEAD, sequence) for sequence in reversed(range(start, end))]
            messages = await api.get(self._connection, places)
            kept = (_kept(message.sequence, message.data) for message in messages if message is not None)
            found += [letter for letter in kept if letter is not None]
            end, looked = start, min(2 * looked, MOST_LOOKED)  # many in a row may have been dropped
        return found[:limit]

    async def letter(self, sequence: int) -> Kept | None:
        [message] = await api.get(self._connection, [(DEAD, sequence)])
        return None if message is None else _kept(sequence, message.data)

    async def redrive(self, kept: Kept, now: float) -> str:
        submission = redriven(kept, now)
        stored = await store(self._connection, [submission_message(submission, kept.letter.tenant)])
        accepted(stored, self._connection.max_message_bytes)
        return submission.id

    async def drop(self, sequence: int) -> bool:
        return await api.delete(self._connection, DEAD, sequence)

    async def close(self) -> None:
        await self._connection.close()


class MemoryDeadLetters:
    """Implements `fleet.ports.DeadLetters` on a MemoryBroker. Numbers count the letters from 1."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        for sequence in range(1, len(self._broker.stored("dead")) + 1):
            kept = await self.letter(sequence)
            if kept is not None and tenant in (None, kept.letter.tenant):
                yield kept

    async def latest(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        kept = [each async for each in self.letters() if before is None or each.sequence < before]
        return kept[::-1][:limit]

    async def letter(self, sequence: int) -> Kept | None:
        stored = self._broker.stored("dead")
        if not 1 <= sequence <= len(stored) or sequence in self._broker.dropped_letters:
            return None
        return _kept(sequence, stored[sequence - 1].data)

    async def redrive(self, kept: Kept, now: float) -> str:
        submission = redriven(kept, now)
        accepted(
            [self._broker.store(submission_message(submission, kept.letter.tenant))], self._broker.max_message_bytes
        )
        return submission.id

    async def drop(self, sequence: int) -> bool:
        there = await self.letter(sequence) is not None
        self._broker.dropped_letters.add(sequence)
        return there

    async def close(self) -> None:
        """Do nothing: the broker belongs to the process."""
