"""Limits of a provider's account, shared by dispatchers that know nothing of each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fleet.model.attempt import Headroom, Limit
from fleet.model.job import Lane

TARGET = "gpt-4o"


class Account:
    """Answers, and says what is left of its limits until they are whole again."""

    def __init__(self, sure, requests=None, tokens=None, per_call=0):
        self._sure, self._per_call = sure, per_call
        self.requests, self.tokens, self.calls = requests, tokens, 0

    def __call__(self, call):
        self.calls += 1
        if self.requests is not None:
            self.requests -= 1
        if self.tokens is not None:
            self.tokens -= self._per_call
        left = [None if n is None else Limit(max(0, n), 60.0) for n in (self.requests, self.tokens)]
        return replace(self._sure(call), headroom=Headroom(*left))


async def _submit(bench, count):
    request = {"model": TARGET, "messages": [{"role": "user", "content": "All is well."}], "max_tokens": 90}
    return await bench.submit(count, Lane.STANDARD, request=request)


async def _answered(bench, count):
    while len(bench.broker.stored("results")) < count:
        await bench.broker.changed_once()


async def test_calls_stop_where_the_account_is_used_up_and_go_on_when_it_is_whole_again(bench, sure, with_target):
    with_target(TARGET, max_in_flight=3)
    account = Account(sure, requests=10)
    bench.backend(TARGET, account)
    await _submit(bench, 40)
    async with bench.running():
        await _answered(bench, 10)
        assert account.calls == 10
        account.requests = 1000
        bench.broker.ahead_seconds += 61
        bench.broker.wake()
        await _answered(bench, 40)
    assert account.calls == 40


async def test_dispatchers_respect_together_what_the_provider_tells_each(bench, sure, with_target):
    with_target(TARGET, max_in_flight=3)
    account = Account(sure, requests=30)
    bench.backend(TARGET, account)
    await _submit(bench, 100)
    dispatchers = [bench.dispatcher(), bench.dispatcher()]
    running = [asyncio.create_task(dispatcher.run()) for dispatcher in dispatchers]
    await _answered(bench, 30)
    for dispatcher in dispatchers:
        await dispatcher.drain()
    await asyncio.gather(*running)
    assert 30 <= account.calls <= 30 + 2 * 3


async def test_tokens_are_a_limit_as_requests_are(bench, sure, with_target):
    with_target(TARGET, max_in_flight=2)
    account = Account(sure, tokens=1000, per_call=100)
    bench.backend(TARGET, account)
    await _submit(bench, 30)
    async with bench.running():
        await _answered(bench, 10)
        assert account.calls == 10
