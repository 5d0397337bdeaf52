"""A Serve deployment that hosts a long-running worker, so that SREs see and scale the dispatcher beside the models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from deployments.loopback import keep_replica_on_loopback
from fleet.model.errors import ConfigError


class Worker(Protocol):
    """A worker that can be hosted."""

    async def run(self) -> None:
        """Work until drained."""

    async def drain(self) -> None:
        """Take nothing new, finish what runs, and let `run` return."""


class WorkerHost:
    """Runs one worker from its construction, which needs a running event loop, until it is stopped."""

    def __init__(self, factory: str) -> None:
        """Build the worker from `factory`, a `module:function` that takes nothing and returns a `Worker`, and run it.

        Raises: ConfigError if there is no such function.
        """
        self._worker: Worker = resolve(factory)()
        self._running = asyncio.create_task(self._worker.run())

    async def check_health(self) -> None:
        """Check that the worker is running.

        Raises: RuntimeError once the worker has ended.
        """
        if self._running.done():
            raise RuntimeError("the worker has ended") from _cause(self._running)

    async def stop(self) -> None:
        """Drain the worker and wait until it has ended; return at once if it has."""
        if not self._running.done():
            await self._worker.drain()
            await asyncio.wait([self._running])


class ServedWorkerHost(WorkerHost):
    """The host as Serve drives it: Serve restarts a replica whose `check_health` raises, destroys one that must go, and
    waits for that up to the grace period.
    """

    async def __init__(self, factory: str) -> None:  # type: ignore[misc]  # Serve awaits it, on the loop of the replica
        keep_replica_on_loopback()
        super().__init__(factory)

    async def __del__(self) -> None:
        await self.stop()


def resolve(path: str) -> Callable[[], Any]:
    """Return the function named `module:function`.

    Raises: ConfigError if there is none.
    """
    module_name, _, name = path.partition(":")
    try:
        factory = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("factory", f"must name a function as module:function ({error})") from error
    if not callable(factory):
        raise ConfigError("factory", f"{path} must be a function")
    return factory  # type: ignore[no-any-return]  # known only at run time


def _cause(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
