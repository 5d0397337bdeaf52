"""Answers with adapters: each is loaded at its first use, and dropped when others need the place of one not in use.

An adapter that cannot be loaded fails the calls that ask for it, and nothing else: the engine loads it by a call of its
own, before any request has it, because one that failed inside a step would end the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

from vllm.lora.request import LoRARequest

from deployments.adapters.layout import CONFIG, TENSORS, read_adapter
from deployments.replica.chat import Chat
from fleet.logs import get_logger
from fleet.model.adapter import ReadFiles
from fleet.model.attempt import Failure, FailureKind, Outcome
from fleet.model.errors import ConfigError

REFUSED_SECONDS: Final = 30.0
"""Time for which an adapter that could not be loaded is not tried again: a broken one costs its calls no more."""

READ_SECONDS: Final = 30.0
"""Time for files to come through Ray's object store; those of a node that is gone may never come."""

WARM_UP_SECONDS: Final = 60.0

WARM_UP: Final[Mapping[str, Any]] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
"""The request that runs once with each adapter, before any job does."""

log = get_logger("ray.serve")


class AdapterEngine(Protocol):
    """The parts of Ray's `VLLMEngine` that load adapters."""

    _engine_client: Any
    _oai_models: Any


class _Refused(Exception):
    """The adapter cannot be used; the text says why."""


class LoadedAdapters:
    """The adapters of one engine: at most `most`, which has to be what the engine itself keeps (`max_cpu_loras`).

    One that has users is never dropped, so the engine never drops one by itself, and never needs its files again.
    """

    def __init__(
        self,
        engine: AdapterEngine,
        most: int,
        warm_up: Callable[[LoRARequest], Awaitable[Outcome]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = engine._engine_client
        self._models = engine._oai_models
        self._most = most
        self._warm_up = warm_up
        self._clock = clock
        self._loaded: OrderedDict[str, LoRARequest] = OrderedDict()  # the least recently used first
        self._users: Counter[str] = Counter()  # those who wait for it to be loaded, too
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._left = asyncio.Event()

    @asynccontextmanager
    async def using(self, digest: str, read: ReadFiles) -> AsyncIterator[LoRARequest]:
        """Give the adapter, which stays loaded meanwhile. Raises: _Refused."""
        self._users[digest] += 1
        try:
            while digest not in self._loaded:
                await self._load(digest, read)
            self._loaded.move_to_end(digest)
            yield self._loaded[digest]
        finally:
            self._users[digest] -= 1
            self._left.set()

    async def _load(self, digest: str, read: ReadFiles) -> None:
        """Load the adapter, once for all who wait for it; whoever stops waiting does not stop it for the others."""
        until, why = self._refused.get(digest, (0.0, ""))
        if self._clock() < until:
            raise _Refused(why)
        if (task := self._loading.get(digest)) is None:
            task = self._loading[digest] = asyncio.create_task(self._loaded_or_refused(digest, read))
            task.add_done_callback(lambda _: self._loading.pop(digest))
        await asyncio.shield(task)
        if digest in self._refused:
            raise _Refused(self._refused[digest][1])

    async def _loaded_or_refused(self, digest: str, read: ReadFiles) -> None:
        self._refused.pop(digest, None)
        try:
            files = await _read(digest, read)
            async with self._one_at_a_time:
                await self._make_room()
                self._loaded[digest] = await self._add(digest, files)
        except Exception as error:
            why = f"the adapter {digest[:12]} cannot be loaded: {_why(error)}"
            self._refused[digest] = self._clock() + REFUSED_SECONDS, why
            log.error("adapter_refused", digest=digest, why=_why(error))

    async def _make_room(self) -> None:
        while len(self._loaded) >= self._most:
            digest = next((digest for digest in self._loaded if not self._users[digest]), None)
            if digest is None:
                self._left.clear()
                await self._left.wait()
                continue
            await self._remove(self._loaded.pop(digest))

    async def _add(self, digest: str, files: Mapping[str, bytes]) -> LoRARequest:
        """Load an adapter into the engine and warm it up; one that fails leaves nothing there."""
        with TemporaryDirectory(prefix="fleet-adapter-") as folder:
            await asyncio.to_thread(_write, Path(folder), digest, files)
            request = LoRARequest(digest, self._models.lora_id_counter.inc(1), folder)
            try:
                await self._client.add_lora(request)
                self._models.lora_requests[digest] = request  # the OpenAI layer, which has the tools, looks here
                outcome = await self._warm_up(request)
                if isinstance(outcome, Failure):
                    raise _Refused(f"its first answer failed: {outcome.detail}")
            except BaseException:
                await self._remove(request)
                raise
        return request

    async def _remove(self, request: LoRARequest) -> None:
        self._models.lora_requests.pop(request.lora_name, None)
        with suppress(Exception):  # it was not there, or the engine is dead
            await self._client.remove_lora(request.lora_int_id)


class AdaptedChat:
    """Runs chat requests on one engine, each with its adapter or without one."""

    def __init__(self, chat: Chat, adapters: LoadedAdapters | None) -> None:
        self._chat = chat
        self._adapters = adapters

    async def answer(
        self,
        body: Mapping[str, Any],
        timeout_seconds: float,
        adapter: str | None = None,
        read: ReadFiles | None = None,
    ) -> Outcome:
        """Return the outcome of one OpenAI chat body, with the adapter of this digest, whose files `read` returns."""
        if adapter is None:
            return await self._chat.answer(body, timeout_seconds)
        if self._adapters is None or read is None:
            return Failure(FailureKind.ADAPTER, "this engine serves no adapters")
        clock = asyncio.get_running_loop().time
        began = clock()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout_seconds):
                    request = await stack.enter_async_context(self._adapters.using(adapter, read))
            except _Refused as error:
                return Failure(FailureKind.ADAPTER, str(error))
            except TimeoutError:
                return Failure(FailureKind.ADAPTER, f"the adapter was not loaded within {timeout_seconds:g} s")
            # Only the load is timed here: an answer that is late says nothing of its adapter.
            return await self._chat.answer(body, timeout_seconds - (clock() - began), request)


def adapted_chat(engine: Any, model: str, confidence: bool) -> AdaptedChat:
    """Return what answers on a started engine; it serves adapters if the engine was started for them."""
    chat = Chat(engine, model, confidence)
    lora = engine._engine_client.vllm_config.lora_config
    if lora is None:
        return AdaptedChat(chat, None)

    async def warm_up(request: LoRARequest) -> Outcome:
        return await chat.answer(WARM_UP, WARM_UP_SECONDS, request)

    return AdaptedChat(chat, LoadedAdapters(engine, lora.max_cpu_loras, warm_up))


async def _read(digest: str, read: ReadFiles) -> Mapping[str, bytes]:
    try:
        async with asyncio.timeout(READ_SECONDS):
            files = await read(digest)
    except TimeoutError:
        raise _Refused(f"its files did not come within {READ_SECONDS:g} s") from None
    if files is None:
        raise _Refused("there are no files of it")
    return files


def _write(folder: Path, digest: str, files: Mapping[str, bytes]) -> None:
    """Write what an engine reads, and check that it is what the digest names."""
    for name in (CONFIG, TENSORS):
        if name not in files:
            raise _Refused(f"{name} is missing")
        (folder / name).write_bytes(files[name])
    if read_adapter(folder).digest != digest:
        raise _Refused("its files have another digest")


def _why(error: Exception) -> str:
    """Return the reason in a line; what vLLM and Ray say may be pages."""
    match error:
        case _Refused():
            return str(error)
        case ConfigError():
            return str(error)
        case _:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
