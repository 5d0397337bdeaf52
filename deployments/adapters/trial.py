"""Asks a model of the fleet's own the same questions with and without an adapter, on an engine of their own.

Nothing of a running fleet is touched: the engine has the base's weights, answers by the code of the replicas, and ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deployments.adapters.base import Base
from deployments.adapters.layout import CONFIG, TENSORS, Adapter
from deployments.profiles import AdapterSlots, ModelProfile
from fleet.model.attempt import Failure, FailureKind, Outcome
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from deployments.replica.adapters import AdaptedChat

BLOCK: Final = 64
"""Questions that are asked at once, first of one and then of the other: what else a machine does slows down both."""

WARM_UP: Final = 8

TIMEOUT_SECONDS: Final = 600.0

Chats = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answers:
    """The outcomes of the base and of the adapter, in the order of the questions, and how long each took for all."""

    base: Sequence[Outcome]
    adapter: Sequence[Outcome]
    base_seconds: float
    adapter_seconds: float


def described_with(base: Base, described: ModelProfile, rank: int) -> ModelProfile:
    """Return the model as it is served, with the weights of this base and room for one adapter of this rank."""
    slots = AdapterSlots(at_once=1, rank=rank)
    return described.model_copy(update={"source": str(base.folder), "revision": None, "adapters": slots})


async def answers_of_both(
    base: Base,
    described: ModelProfile,
    adapter: Adapter,
    chats: Chats,
    said: Callable[[int], None] = lambda done: None,
) -> Answers:
    """Start an engine, and answer each chat with and without the adapter; `said` is told how many are done.

    Raises: ConfigError if the engine cannot load the adapter; what the engine raises where it cannot start.
    """
    from deployments.replica.offline import offline_chat

    async with offline_chat(base.target, described_with(base, described, adapter.rank), confidence=True) as engine:
        plain, adapted = _Side(engine), _Side(engine, adapter)
        for side in (plain, adapted):
            await side.warm_up(chats[:WARM_UP])
        for start in range(0, len(chats), BLOCK):
            for side in (plain, adapted):
                await side.ask(chats[start : start + BLOCK])
            said(min(start + BLOCK, len(chats)))
    return Answers(plain.outcomes, adapted.outcomes, plain.seconds, adapted.seconds)


class _Side:
    """One of the two that answer: the base, or this adapter of it."""

    def __init__(self, engine: AdaptedChat, adapter: Adapter | None = None) -> None:
        self._engine = engine
        self._adapter = adapter
        self.outcomes: list[Outcome] = []
        self.seconds = 0.0

    async def warm_up(self, chats: Chats) -> None:
        """Answer once, without counting it. Raises: ConfigError if the adapter cannot be loaded."""
        for outcome in await self._answers(chats):
            if isinstance(outcome, Failure) and outcome.kind is FailureKind.ADAPTER:
                raise ConfigError(str(self._adapter and self._adapter.folder), outcome.detail)

    async def ask(self, chats: Chats) -> None:
        began = time.perf_counter()
        self.outcomes += await self._answers(chats)
        self.seconds += time.perf_counter() - began

    async def _answers(self, chats: Chats) -> Sequence[Outcome]:
        digest = None if self._adapter is None else self._adapter.digest
        return await asyncio.gather(
            *(self._engine.answer(body, TIMEOUT_SECONDS, digest, self._files) for body in chats)
        )

    async def _files(self, digest: str) -> Mapping[str, bytes]:
        assert self._adapter is not None, "only an adapter has files"
        return {name: (self._adapter.folder / name).read_bytes() for name in (CONFIG, TENSORS)}
