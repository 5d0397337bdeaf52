"""The API keys as a running gateway knows them: read whole, and again after each change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from fleet.gateway.caller import Caller
from fleet.model.api_key import ApiKey, key_id_in
from fleet.ports import KeyStore


class Keyring:
    """Implements `fleet.gateway.caller.Keys`. Without the broker the keys known stay in force."""

    def __init__(self, store: KeyStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._keys: Mapping[str, ApiKey] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Read the keys, and follow their changes from then on. Raises: QueueUnavailable."""
        self._replace(await self._store.read_all())
        self._watching = asyncio.create_task(self._store.watch(self._replace))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._watching is not None, "entered before"
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    def _replace(self, keys: Mapping[str, ApiKey]) -> None:
        self._keys = keys

    async def find(self, secret: str) -> Caller | None:
        """See `Keys.find`."""
        key = self._keys.get(key_id_in(secret) or "")
        if key is None or not key.is_text(secret) or not key.is_valid(self._now()):
            return None
        return Caller(key.tenant, key.id, key.scopes)
