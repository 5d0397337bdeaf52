"""A publisher's desk on NATS: request, subscribe and direct get, nothing a plain NATS client could not do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from fleet import faults
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.feedback import Feedback
from fleet.model.job import JOB_ID, TENANT
from fleet.model.result import Result
from fleet.model.submission import Submission
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.queue import store
from queues.jetstream.stores.large import whole_result
from queues.wire.letters import accepted, cancel_message, feedback_message, submission_message
from queues.wire.subjects import RESULTS, checked_job_id, result_subject


class JetStreamDesk:
    """Implements `fleet.ports.JobDesk` for one tenant. `results` raises QueueUnavailable when the connection breaks.

    A result is announced by its publisher's own message: the server passes it on to listeners, beside storing it.
    """

    def __init__(self, connection: Connection, tenant: str, secret: bytes = b"") -> None:
        """Serve one tenant. With a `secret`, knowing a job's id is not enough to have the job dropped as a repetition.

        Raises: ConfigError if the tenant's name is not valid.
        """
        if TENANT.fullmatch(tenant) is None:
            raise ConfigError("tenant", f"must match {TENANT.pattern}")
        self._connection = connection
        self._tenant = tenant
        self._secret = secret

    @classmethod
    async def connect(cls, url: str, tenant: str, login: Login = ANONYMOUS) -> JetStreamDesk:
        """Return a desk on a connection of its own, closed with it.

        Raises: QueueUnavailable; ConfigError if the login is refused.
        """
        return cls(await connect(url, name=f"fleet-desk-{tenant}", login=login), tenant, login.secret())

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        messages = [submission_message(submission, self._tenant, self._secret) for submission in submissions]
        faults.point("client.submitting")
        stored = await store(self._connection, messages)
        faults.point("client.submitted")
        return accepted(stored, self._connection.max_message_bytes)

    async def result(self, job_id: str) -> Result | None:
        """See `JobDesk.result`.

        Raises: InvalidJob if the id is not valid; QueueUnavailable.
        """
        subject = result_subject(self._tenant, checked_job_id(job_id))
        [body] = await api.direct_get(self._connection, RESULTS, [subject])
        return None if body is None else await whole_result(self._connection, self._tenant, body)

    async def stored(self, job_ids: Sequence[str]) -> Sequence[Result | None]:
        subjects = {each: result_subject(self._tenant, each) for each in job_ids if JOB_ID.fullmatch(each)}
        bodies = dict(zip(subjects, await api.direct_get(self._connection, RESULTS, subjects.values()), strict=True))
        return [
            None if (body := bodies.get(each)) is None else await whole_result(self._connection, self._tenant, body)
            for each in job_ids
        ]

    async def announced(self) -> AsyncIterator[str]:
        async for message in self._connection.listen(result_subject(self._tenant, "*")):
            yield message.subject.rpartition(".")[2]

    async def results(self) -> AsyncIterator[Result]:
        async for message in self._connection.listen(result_subject(self._tenant, "*")):
            result = await whole_result(self._connection, self._tenant, message.data)
            if result is not None:
                yield result

    async def cancel(self, job_id: str) -> None:
        [stored] = await store(self._connection, [cancel_message(self._tenant, job_id)])
        if stored is Stored.REFUSED:
            raise QueueUnavailable("the cancellation was refused")

    async def give_feedback(self, feedback: Feedback) -> bool:
        message = feedback_message(replace(feedback, tenant=self._tenant))
        [stored] = accepted(await store(self._connection, [message]), self._connection.max_message_bytes)
        return stored

    async def close(self) -> None:
        await self._connection.close()
