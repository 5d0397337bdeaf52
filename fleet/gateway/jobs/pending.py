"""A job that somebody waits for over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress

from starlette.types import Receive

from fleet.gateway.state import Doors
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.result import Result
from fleet.model.submission import Submission

CLIENT_GONE = 499
"""The status of an answer that nobody reads; nginx calls it so."""


class Pending:
    """The wait for one job's result: begins before the job is submitted, and ends with `close`."""

    def __init__(self, doors: Doors, tenant: str, job_id: str) -> None:
        self.job_id = job_id
        self._doors = doors
        self._tenant = tenant
        self._stack = ExitStack()
        self._awaited = self._stack.enter_context(doors.inbox(tenant).expecting(job_id))

    async def submit(self, submission: Submission) -> None:
        """Store the job, unless it was sent before and has its result. Raises: InvalidJob, QueueUnavailable."""
        if self._doors.sent_before.may_be_there(self.job_id):
            found = await self._doors.inbox(self._tenant).stored(self.job_id)
            if found is not None:
                if not self._awaited.done():
                    self._awaited.set_result(found)
                return
        await self._doors.desk(self._tenant).submit([submission])

    async def within(self, seconds: float) -> Result | None:
        """Return the result, or None if there is none after so many seconds."""
        await asyncio.wait([self._awaited], timeout=seconds)
        return self._awaited.result() if self._awaited.done() else None

    async def unless_gone(self, receive: Receive) -> Result | None:
        """Return the result; None, and the job is cancelled, if whoever waits for it goes away first."""
        gone = asyncio.create_task(client_gone(receive))
        try:
            await asyncio.wait((self._awaited, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not self._awaited.done():
            await self.cancel()
            return None
        return self._awaited.result()

    async def cancel(self) -> None:
        """Call the job off, unless its result is there, or it has a key to come back with: nobody waits for it now."""
        if not self._awaited.done() and self._doors.sent_before.drop(self.job_id):
            with suppress(QueueUnavailable):  # it runs in vain, until its deadline at the latest
                await self._doors.desk(self._tenant).cancel(self.job_id)

    async def ahead(self, lane: Lane) -> int | None:
        """Return how many of the tenant's jobs wait in the lane; None if nobody can tell."""
        return await self._doors.waiting(self._tenant, lane)

    def close(self) -> None:
        self._stack.close()


async def client_gone(receive: Receive) -> None:
    """Return when the client has disconnected. Only one may wait for that, and nobody may read the body any more."""
    while (await receive())["type"] != "http.disconnect":
        pass
