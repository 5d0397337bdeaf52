"""A publisher's side of the queue in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from fleet.model.feedback import Feedback
from fleet.model.job import JOB_ID
from fleet.model.result import Result
from fleet.model.submission import Submission
from queues.memory.broker import MemoryBroker
from queues.wire.letters import accepted, cancel_message, feedback_message, submission_message
from queues.wire.objects import chunk_subjects
from queues.wire.parcels import belongs_to, unpacked
from queues.wire.result import receipt_in, result_in
from queues.wire.subjects import checked_job_id, result_subject


class MemoryDesk:
    """`fleet.ports.JobDesk` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, tenant: str) -> None:
        self._broker = broker
        self._tenant = tenant

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        messages = [submission_message(submission, self._tenant) for submission in submissions]
        return accepted([self._broker.store(message) for message in messages], self._broker.max_message_bytes)

    async def result(self, job_id: str) -> Result | None:
        message = self._broker.last(result_subject(self._tenant, checked_job_id(job_id)))
        return None if message is None else self._whole(message.data)

    def _whole(self, body: bytes) -> Result | None:
        receipt = receipt_in(body)
        if receipt is None:
            return result_in(body)
        if not belongs_to(receipt, self._tenant):
            return None
        found = [self._broker.last(subject) for subject in chunk_subjects(receipt)]
        chunks = [message.data for message in found if message is not None]
        return unpacked(body, receipt, b"".join(chunks)) if len(chunks) == len(found) else None

    async def stored(self, job_ids: Sequence[str]) -> Sequence[Result | None]:
        return [await self.result(each) if JOB_ID.fullmatch(each) else None for each in job_ids]

    async def announced(self) -> AsyncIterator[str]:
        async for message in self._broker.listen(result_subject(self._tenant, "")):
            yield message.subject.rpartition(".")[2]

    async def results(self) -> AsyncIterator[Result]:
        async for message in self._broker.listen(result_subject(self._tenant, "")):
            result = self._whole(message.data)
            if result is not None:
                yield result

    async def cancel(self, job_id: str) -> None:
        self._broker.store(cancel_message(self._tenant, job_id))

    async def give_feedback(self, feedback: Feedback) -> bool:
        message = feedback_message(replace(feedback, tenant=self._tenant))
        [stored] = accepted([self._broker.store(message)], self._broker.max_message_bytes)
        return stored

    async def close(self) -> None:
        """Do nothing: the broker belongs to the process."""
