"""Stops calls by their id, in whatever batch they are."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from fleet.model.attempt import Failure, FailureKind, Outcome

STOPPED = Failure(FailureKind.CANCELLED, "the call was stopped")


class Stoppable:
    """The calls that run now, each in a task of its own. vLLM aborts the request of a cancelled task."""

    def __init__(self) -> None:
        self._running: dict[str, set[asyncio.Task[Any]]] = {}
        self._stopped: set[asyncio.Task[Any]] = set()

    async def run(self, call_id: str, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Return the outcome of `work`, or STOPPED. Call this in a task that does nothing else."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._running.setdefault(call_id, set()).add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self._stopped:
                raise
            task.uncancel()
            return STOPPED
        finally:
            self._stopped.discard(task)
            self._running[call_id].discard(task)
            if not self._running[call_id]:
                del self._running[call_id]

    def stop(self, ids: Iterable[str]) -> int:
        """Stop the calls with these ids, and return how many there were."""
        tasks = {task for call_id in ids for task in self._running.get(call_id, ())}
        self._stopped |= tasks
        return sum(task.cancel() for task in tasks)
