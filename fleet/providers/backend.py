"""A provider's model behind the Backend port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from fleet.interruption import raise_own
from fleet.model.attempt import Answer, Failure, FailureKind, Headroom, Outcome
from fleet.model.call import Call
from fleet.model.errors import InvalidJob
from fleet.providers.failures import failure_of
from fleet.providers.headroom import OwnCount, headroom_in, headroom_of
from fleet.providers.keys import KeyRing, KeyUnavailable
from fleet.providers.prompt_cache import PromptCache
from fleet.providers.sdk import Sdk
from fleet.providers.transport import UnusableReply
from fleet.providers.wire import Wire
from policies.resilience.retry import is_of_account


class ProviderBackend:
    """Runs calls on one model of `provider`: all at once, each as an HTTP request of its own.

    `count` is that of all the provider's models, `prompt_cache` what is known of prompts that begin alike.
    """

    def __init__(
        self, provider: str, wire: Wire, sdk: Sdk, keys: KeyRing, count: OwnCount, prompt_cache: PromptCache
    ) -> None:
        self._provider = provider
        self._count = count
        self._wire = wire
        self._sdk = sdk
        self._keys = keys
        self._prompt_cache = prompt_cache
        self._running: set[tuple[str, asyncio.Task[tuple[int, Outcome]]]] = set()

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """See `Backend.run`. Closing or cancelling the iterator cancels the requests under way."""
        running = {(call.id, asyncio.create_task(self._numbered(index, call))) for index, call in enumerate(calls)}
        pending = {task for _, task in running}
        self._running |= running
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if group := [task.result() for task in done if not task.cancelled()]:
                    yield group
        finally:
            self._running -= running
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def stop(self, ids: Collection[str]) -> None:
        """See `Backend.stop`. The requests are cancelled; what the provider charges for them is unknown."""
        for call_id, task in self._running:
            if call_id in ids:
                task.cancel()

    async def close(self) -> None:
        await self._sdk.close()

    async def _numbered(self, index: int, call: Call) -> tuple[int, Outcome]:
        return index, await self._outcome(call)

    async def _outcome(self, call: Call) -> Outcome:
        """Run one call and translate every error; no detail quotes an error, which may hold the key or prompt."""
        try:
            outcome = await self._exchange(call)
            if isinstance(outcome, Failure) and is_of_account(outcome) and call.own_key is not None:
                return replace(outcome, detail=f"{outcome.detail} to the tenant's own key")
            return outcome
        except KeyUnavailable as error:
            return Failure(FailureKind.AUTHENTICATION, str(error))
        except InvalidJob as error:
            return Failure(FailureKind.INVALID_REQUEST, str(error))
        except TimeoutError:
            return Failure(FailureKind.TIMEOUT, f"{self._provider} did not answer within {call.timeout_seconds:g} s")
        except ConnectionError:
            return Failure(FailureKind.CONNECTION, f"the connection to {self._provider} failed")
        except UnusableReply:
            return Failure(FailureKind.MALFORMED, f"{self._provider} sent a reply that is too long or wrongly packed")
        except ValidationError as error:
            return Failure(FailureKind.MALFORMED, f"{self._provider} sent no usable answer{_place(error)}")
        except BaseException as error:  # a bug in one call must not fail its neighbours
            raise_own(error)
            return Failure(FailureKind.INTERNAL, f"{type(error).__name__} while calling {self._provider}")

    async def _exchange(self, call: Call) -> Outcome:
        body = self._wire.encode(call.request, own_key=call.own_key is not None)
        key = self._keys.resolve(self._provider, call.own_key)
        if call.cache_scope is None:
            return await self._sent(body, key, call, call.timeout_seconds)
        return await self._sent_marked(body, key, call, call.cache_scope)

    async def _sent_marked(self, body: dict[str, Any], key: str, call: Call, scope: str) -> Outcome:
        """Send a call with the marks that pay; without them if the server turns out not to know the words."""
        started_at = time.monotonic()
        begun = self._prompt_cache.begin(f"{scope}\0{call.own_key or ''}", self._wire.beginning(body))
        if begun is None:
            return await self._sent(body, key, call, call.timeout_seconds)
        outcome: Outcome | None = None
        try:
            marked = self._wire.marked(body, begun.mark, begun.key)
            outcome = await self._sent(marked, key, call, call.timeout_seconds)
        finally:
            self._prompt_cache.end(begun, isinstance(outcome, Answer))
        if not (isinstance(outcome, Failure) and self._prompt_cache.may_be_why(begun, outcome)):
            return outcome
        left_seconds = call.timeout_seconds - (time.monotonic() - started_at)
        plain = await self._sent(body, key, call, max(0.001, left_seconds))
        if isinstance(plain, Answer):
            self._prompt_cache.refused(outcome)
        return plain

    async def _sent(self, body: dict[str, Any], key: str, call: Call, seconds: float) -> Outcome:
        if call.own_key is None:
            self._count.begun(time.monotonic())
        reply = await self._sdk.post(body, key, seconds)
        now = time.time()
        outcome = (
            self._wire.decode(reply.body, call.request)
            if reply.status == 200
            else failure_of(self._provider, reply, now)
        )
        headroom = headroom_in(reply.headers, now)
        if call.own_key is None:
            headroom = headroom_of(headroom, self._counted(outcome))
        return outcome if headroom is None else replace(outcome, headroom=headroom)

    def _counted(self, outcome: Outcome) -> Headroom:
        now = time.monotonic()
        self._count.ended(outcome, now)
        others = sum(not task.done() for _, task in self._running) - 1  # this call is still among them
        return self._count.left(others, now)


def _place(error: ValidationError) -> str:
    """Return the place where the reply is wrong: names of our own fields and positions only."""
    location = error.errors(include_input=False, include_url=False)[0]["loc"]
    return f" ({'.'.join(map(str, location))})" if location else ""
