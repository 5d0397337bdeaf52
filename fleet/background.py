"""Keeps something asynchronous open in a thread of its own, for callers that have no event loop.

A fork copies memory and sockets, yet only the thread that forked goes on. So what was opened before a fork is never
used, closed or collected after it: its selector and its sockets are still the parent's. The child opens its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Value = TypeVar("Value")

AWAKE_SECONDS = 1.0
"""Maximum seconds that a caller's thread blocks at a stretch: a signal that comes just before wakes nobody."""

CLOSED = "the client is closed"
OWN_THREAD = "a synchronous client was called on its own event loop, and would wait for itself: use another thread"

_forks = 0
"""The number of forks between the first process and this one."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_count_fork)


def _this_process() -> tuple[int, int]:
    """Tell processes apart. An id may come again, and a server written in C may fork without a word to Python."""
    return os.getpid(), _forks


class Caller(Protocol[T_co]):
    """Calls coroutines with something open from any thread, and waits for them."""

    def call(self, use: Callable[[T_co], Coroutine[Any, Any, Value]]) -> Value:
        """Return what `use` returns, or raise what it raises. Whatever ends the wait cancels it."""

    def iterate(self, use: Callable[[T_co], AsyncIterator[Value]]) -> Iterator[Value]:
        """Give each item as it comes. It starts with the first step and is cancelled when the iterator is closed.

        A forked process cannot go on with it: there it raises RuntimeError.
        """

    def close(self) -> None:
        """End what still runs with RuntimeError, and refuse with the same what comes after."""


class Background(Generic[T]):
    """A `Caller` that opens its `T` at the first call, once in each process."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._opening = opening
        self._closed = False
        self._processes: dict[tuple[int, int], _Process[T]] = {}

    def call(self, use: Callable[[T], Coroutine[Any, Any, Value]]) -> Value:
        """See `Caller.call`. Raises also what opening raises; then the next call opens anew."""
        future = self._start(use)
        try:
            return _outcome(future)
        finally:
            future.cancel()

    def iterate(self, use: Callable[[T], AsyncIterator[Value]]) -> Iterator[Value]:
        arrived: SimpleQueue[tuple[Value, ...]] = SimpleQueue()

        async def pump(resource: T) -> None:
            async for item in use(resource):
                arrived.put((item,))

        future, process = self._start(pump), _this_process()
        future.add_done_callback(lambda _: arrived.put(()))
        try:
            while item := _taken(arrived):
                yield from item
                if process != _this_process():
                    raise RuntimeError("an iterator belongs to the process that began it: begin another one")
            _outcome(future)
        finally:
            if process == _this_process():
                future.cancel()

    def close(self) -> None:
        process = self._process()
        with process.lock:
            if process.session is not None:
                process.session.refuse_own_thread()
            self._closed = True
            session, process.session = process.session, None
        if session is not None:
            session.close()

    def _start(self, use: Callable[[T], Coroutine[Any, Any, Value]]) -> futures.Future[Value]:
        process = self._process()
        with process.lock:
            if self._closed:
                raise RuntimeError(CLOSED)
            session = process.session = process.session or _Session(self._opening)
        session.refuse_own_thread()
        try:
            _done(session.opened)
        except BaseException:
            with process.lock:
                if process.session is session and session.has_failed:
                    process.session = None
            raise
        return session.start(use)

    def _process(self) -> _Process[T]:
        # A dict's setdefault is atomic: no lock is needed that a fork might copy while somebody holds it.
        return self._processes.setdefault(_this_process(), _Process())


class _Process(Generic[T]):
    """The part of a `Background` that belongs to one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: _Session[T] | None = None


class _Session(Generic[T]):
    """A thread with an event loop on which a `T` is open until `close`."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self.opened: futures.Future[T] = futures.Future()
        self._opening = opening
        self._lock = threading.Lock()
        self._ended = False
        # Whoever forgets to close must still be able to end the interpreter.
        self._thread = threading.Thread(target=self._run, name="fleet-client", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        return self.opened.done() and self.opened.exception() is not None

    def start(self, use: Callable[[T], Coroutine[Any, Any, Value]]) -> futures.Future[Value]:
        """Run `use` on the loop, in the caller's context: its trace goes along. Raises RuntimeError if closed."""
        with self._lock:
            if self._ended:
                raise RuntimeError(CLOSED)
            return asyncio.run_coroutine_threadsafe(use(self.opened.result()), self._loop)

    def close(self) -> None:
        """Return when everything is closed and the thread has ended."""
        futures.wait([self.opened])
        with self._lock:  # what was started comes first on the loop, and is cancelled with it
            self._ended = True
            if not self.has_failed:
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def refuse_own_thread(self) -> None:
        """Raise RuntimeError in the thread of the loop: a wait there would keep what it waits for from running."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(OWN_THREAD)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()
                runner.run(self._hold())
        except BaseException as error:  # no loop could be made, for want of file descriptors perhaps
            if self.opened.done():
                raise
            self.opened.set_exception(error)

    async def _hold(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._opening() as resource:
                self.opened.set_result(resource)
                await self._stop.wait()
        except BaseException as error:
            if self.opened.done():
                raise
            self.opened.set_exception(error)


def _taken(arrived: SimpleQueue[Value]) -> Value:
    while True:
        with suppress(Empty):
            return arrived.get(timeout=AWAKE_SECONDS)


def _done(future: futures.Future[Value]) -> Value:
    while not futures.wait([future], AWAKE_SECONDS).done:
        pass
    return future.result()


def _outcome(future: futures.Future[Value]) -> Value:
    try:
        return _done(future)
    except futures.CancelledError:
        raise RuntimeError(f"{CLOSED}; what it waited for goes on") from None
