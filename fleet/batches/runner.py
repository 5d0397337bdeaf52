"""The process that runs batches: finds those that nobody runs, and takes each to its end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from fleet.batches.entry import Entry, Holder, LeaseLost
from fleet.batches.run import Announce, BatchRun
from fleet.batches.settings import RunSettings, Tenancy
from fleet.bulk.inbox import Inbox
from fleet.logs import get_logger
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import LoginRefused, QueueUnavailable
from fleet.ports import AllBatches, JobDesk

LOOK_SECONDS = 2.0
"""Seconds between looks for batches where nothing is announced."""

SWEEP_SECONDS = 2.0
"""Seconds between looks for results whose announcement got lost; looking for a whole window costs a window."""

MOST_RUNS = 50
"""Maximum number of batches that one process runs at once. Others wait, or another process runs them."""

MOST_RUNS_OF_TENANT = 10
"""The same for one tenant, whose batches may be made to take days: others need not wait until they have ended."""

log = get_logger(__name__)


class BatchRunner:
    """Runs the batches of all tenants. Any number of processes may do so: each batch is leased to one."""

    def __init__(
        self,
        batches: AllBatches,
        desk_of: Callable[[str], JobDesk],
        announce: Announce,
        settings: RunSettings,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._batches = batches
        self._desk_of = desk_of
        self._announce = announce
        self._settings = settings
        self._look_seconds = look_seconds
        self._holder = Holder(secrets.token_hex(8), settings.lease_seconds, settings.now)
        self._runs: dict[str, BatchRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tenancies: dict[str, Tenancy] = {}
        self._inboxes = AsyncExitStack()
        self._draining = asyncio.Event()
        self._refused: LoginRefused | None = None

    @property
    def running(self) -> int:
        """The number of batches that this process runs now."""
        return len(self._runs)

    def drain(self) -> None:
        """Have `run` hand all batches over and end."""
        self._draining.set()

    def refuse(self, error: LoginRefused) -> None:
        """Have `run` end with this error."""
        self._refused = error
        self._draining.set()

    async def run(self) -> None:
        """Run batches until drained. Outages are waited out. Raises: LoginRefused."""
        async with self._inboxes:
            try:
                while not self._draining.is_set():
                    await self._look()
                    await self._pause()
                if self._refused is not None:
                    raise self._refused
            finally:
                await self._hand_over()

    async def _look(self) -> None:
        try:
            for batch, revision in await self._batches.unfinished():
                await self._consider(batch, revision)
        except LoginRefused:
            raise
        except QueueUnavailable as error:
            log.warning("batches_not_read", error=str(error))

    async def _consider(self, batch: Batch, revision: int) -> None:
        running = self._runs.get(batch.id)
        if running is not None:
            if batch.status is BatchStatus.CANCELLING:
                running.cancel()
        elif self._holder.may_take(batch) and self._has_room(batch.tenant):
            store = self._batches.batches(batch.tenant)
            entry = await Entry.lease(store, batch, revision, self._holder)
            if entry is not None:
                self._start(entry)

    def _has_room(self, tenant: str) -> bool:
        of_tenant = sum(run.entry.batch.tenant == tenant for run in self._runs.values())
        return len(self._runs) < MOST_RUNS and of_tenant < MOST_RUNS_OF_TENANT

    def _start(self, entry: Entry) -> None:
        batch = entry.batch
        known = partial(self._batches.known, batch.tenant)
        run = self._runs[batch.id] = BatchRun(entry, self._tenancy(batch.tenant), known, self._announce, self._settings)
        task = self._tasks[batch.id] = asyncio.create_task(self._contained(run))
        task.add_done_callback(lambda _: self._forget(batch.id))

    def _forget(self, batch_id: str) -> None:
        del self._runs[batch_id], self._tasks[batch_id]

    async def _contained(self, run: BatchRun) -> None:
        """Run a batch; a bug ends no other one. Its lease then ends by itself, and it is tried again."""
        batch = run.entry.batch
        log.info("batch_taken", tenant=batch.tenant, batch=batch.id, status=batch.status.value)
        try:
            await run.run()
        except LeaseLost:
            log.warning("batch_taken_over", tenant=batch.tenant, batch=batch.id)
        except LoginRefused as error:
            self.refuse(error)
        except QueueUnavailable as error:
            log.warning("batch_end_not_told", tenant=batch.tenant, batch=batch.id, error=str(error))
        except Exception:
            log.exception("batch_run_failed", tenant=batch.tenant, batch=batch.id)
        else:
            ended = run.entry.batch
            log.info(
                "batch_ended",
                tenant=ended.tenant,
                batch=ended.id,
                status=ended.status.value,
                completed=ended.completed,
                failed=ended.failed,
            )

    def _tenancy(self, tenant: str) -> Tenancy:
        """Return what the tenant's batches share, its inbox open from its first use until this process ends."""
        found = self._tenancies.get(tenant)
        if found is None:
            desk = self._desk_of(tenant)
            inbox = Inbox(desk, SWEEP_SECONDS)
            inbox.open()
            self._inboxes.push_async_exit(inbox)
            found = self._tenancies[tenant] = Tenancy(desk, inbox, self._batches.files(tenant))
        return found

    async def _pause(self) -> None:
        """Wait until something may have changed."""
        waits = [asyncio.create_task(self._changed()), asyncio.create_task(self._draining.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _changed(self) -> None:
        try:
            await self._batches.changed(self._look_seconds)
        except LoginRefused:
            raise
        except QueueUnavailable:
            await asyncio.sleep(self._look_seconds)

    async def _hand_over(self) -> None:
        """Copy what has come, end every run, and let others run the batches at once."""
        runs = list(self._runs.values())
        await asyncio.gather(*(run.stop() for run in runs), return_exceptions=True)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(run.entry.release() for run in runs), return_exceptions=True)
