"""Calls to three providers through the fleet's own code and the vendors' SDKs: the accounts beside the invoices."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from benchmarks.prompt_cache.server import serving
from benchmarks.prompt_cache.vendors import Anthropic, Invoice, OpenAI, PriceList, Vendor, groq
from fleet.ledger.rows import Row, row_of
from fleet.model.attempt import Answer, Attempt, Outcome
from fleet.model.call import Call
from fleet.model.job import ChatRequest, Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, LedgerLine
from fleet.model.target import Capability, LatencyClass, Target
from fleet.ports import Backend
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from fleet.providers.anthropic.wire import AnthropicWire
from fleet.providers.openai.wire import OpenAIWire
from fleet.providers.wire import Wire
from policies.caching.prompt import Life, Mark, MarkReason
from policies.money import charged, usd_of
from queues.wire.ledger import encode_ledger

PRICES = {
    "openai": PriceList(*map(Decimal, ("0.10", "0.01", "0.125", "0", "0.50"))),
    "anthropic": PriceList(*map(Decimal, ("2.00", "0.10", "2.50", "4.00", "10.00"))),
    "groq": PriceList(*map(Decimal, ("0.075", "0.0375", "0.075", "0", "0.30"))),
}
"""Dollars per million tokens: those of gpt-6-luna, claude-sonnet-5-5 and gpt-oss-20b in November 2026."""

KEYS = {"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": "gsk-2", "ANTHROPIC_API_KEY": "sk-ant-3"}
BUSY_SHARE = 0.02
BEGINNINGS = 60
MOST_AT_ONCE = 6
TIERS = {"openai": ("usual", "flex", "batch"), "anthropic": ("usual", "batch"), "groq": ("usual", "batch")}

WORDS = ("refund", "order", "parcel", "invoice", "late", "broken", "login", "password", "thanks", "where", "please")
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(slots=True)
class Clock:
    seconds: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(slots=True)
class Account:
    """The fleet's books of one provider: what was charged, and what the rows of the ledger say was."""

    nano: int = 0
    ledger_nano: int = 0
    answers: int = 0
    failures: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


def target_of(provider: str, tier: str) -> Target:
    """Return the row of a catalogue for a provider's model in a tier; its prices are half in `flex` and in a batch."""
    share = Decimal(1) if tier == "usual" else Decimal("0.5")
    prices = PRICES[provider]
    kept = provider == "anthropic"
    return Target(
        name=f"{provider}-{tier}",
        provider=provider,
        model=f"{provider}-model",
        input_usd_per_million_tokens=float(share * prices.input),
        cached_input_usd_per_million_tokens=float(share * prices.read),
        cache_write_usd_per_million_tokens=float(share * prices.written),
        cache_write_1h_usd_per_million_tokens=float(share * prices.written_1h) if kept else None,
        output_usd_per_million_tokens=float(share * prices.output),
        context_tokens=200_000,
        capabilities=frozenset({Capability.TEXT, Capability.TOOLS}),
        latency=LatencyClass.FAST,
        max_in_flight=32,
        service_tier="flex" if tier == "flex" else None,
    )


def vendors_of(clock: Clock, rng: random.Random) -> dict[str, Vendor]:
    def draw() -> tuple[int, int]:
        thought = rng.choice((0, 0, rng.randrange(400)))
        return thought + rng.randrange(1, 300), thought

    return {
        "openai": OpenAI(PRICES["openai"], clock, draw),
        "anthropic": Anthropic(PRICES["anthropic"], clock, draw),
        "groq": groq(PRICES["groq"], clock, draw),
    }


class Requests:
    """Requests of four tenants, whose beginnings come again at rates from some seconds to some hours, or never."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._beginnings = [self._instructions(rng.randrange(600, 2500)) for _ in range(BEGINNINGS)]
        self._weights = [1 / (rank + 1) for rank in range(BEGINNINGS)]

    def next(self) -> tuple[str, ChatRequest]:
        rng = self._rng
        number = rng.choices(range(BEGINNINGS), self._weights)[0]
        system = self._instructions(600) if rng.random() < 0.05 else self._beginnings[number]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": self._words(rng.randrange(200))}]
        request: dict[str, Any] = {"messages": messages, "max_tokens": 1000}
        if number % 3 == 0:
            function = {"name": f"look_up_{number}", "description": "Looks it up.", "parameters": TOOL}
            request["tools"] = [{"type": "function", "function": function}]
        return f"tenant-{number % 4}", request

    def _words(self, count: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=count + 1))

    def _instructions(self, words: int) -> str:
        return f"{self._rng.random()} {self._words(words)}"


@dataclass(slots=True)
class Trial:
    """The outcome of the calls, by provider."""

    accounts: dict[str, Account]
    invoices: Mapping[str, Invoice]


async def run_calls(calls: int, seed: int = 1) -> Trial:
    """Make so many calls, some at once and a few in vain, on a clock of their own."""
    rng, clock = random.Random(seed), Clock()
    vendors = vendors_of(clock, random.Random(seed + 1))
    accounts = {provider: Account() for provider in vendors}
    requests, made = Requests(rng), 0
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(serving(vendors, lambda: rng.random() < BUSY_SHARE))
        backends = dict[str, Backend]()
        for target in _targets():
            settings = ProviderSettings(base_urls=urls)
            backends[target.name] = build(target, settings, EnvironmentKeyRing(KEYS), now=clock)
            stack.push_async_callback(backends[target.name].close)
        while made < calls:
            clock.seconds += rng.expovariate(1 / 8)
            provider = rng.choice(list(vendors))
            target = target_of(provider, rng.choice(TIERS[provider]))
            together = [requests.next() for _ in range(min(rng.randint(1, MOST_AT_ONCE), calls - made))]
            made += len(together)
            if target.name.endswith("-batch"):
                outcomes = [_in_batch(target, request, vendors[provider]) for _, request in together]
            else:
                outcomes = await _called(backends[target.name], together)
            for outcome in outcomes:
                book(accounts[provider], target, outcome)
    return Trial(accounts, {name: vendor.invoice for name, vendor in vendors.items()})


def _targets() -> Iterator[Target]:
    for provider, tiers in TIERS.items():
        yield from (target_of(provider, tier) for tier in tiers if tier != "batch")


async def _called(backend: Backend, together: list[tuple[str, ChatRequest]]) -> list[Outcome]:
    calls = [Call(request, 30.0, cache_scope=tenant) for tenant, request in together]
    return [outcome async for group in backend.run(calls) for _, outcome in group]


def _in_batch(target: Target, request: ChatRequest, vendor: Vendor) -> Outcome:
    """Return what a row of a provider's batch came to: its body and its reply are those of a call.

    Calls of a batch are far apart, so that a mark is for an hour where there is one.
    """
    wire: Wire = AnthropicWire(target) if target.provider == "anthropic" else OpenAIWire(target)
    life = Life.HOUR if target.provider == "anthropic" else Life.HALF_HOUR
    body = wire.marked(wire.encode(request), Mark(life, MarkReason.PAYS), "batch")
    return wire.decode(json.dumps(vendor.answer(body, "batch", batch=True)).encode(), request)


def book(account: Account, target: Target, outcome: Outcome) -> None:
    """Book a call as the fleet does, and read the row that its line becomes in the ledger."""
    amount = charged(outcome, 0, target)
    account.nano += amount
    if isinstance(outcome, Answer):
        account.answers += 1
    else:
        account.failures += 1
    row = _row_of(target, outcome, usd_of(amount))
    account.ledger_nano += row["cost_nano_usd"]
    for name in ("input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens"):
        account.tokens[name] += row[name] or 0


def _row_of(target: Target, outcome: Outcome, cost_usd: float) -> Row:
    attempt = Attempt(1, target.name, Reason.ROUTED, 1.0, 2.0, outcome, cost_usd=cost_usd, provider=target.provider)
    entry = LedgerEntry("job-0123456789ab", "acme", Lane.BULK, 2.0, Reason.CONFIDENT, attempt=attempt)
    return row_of(LedgerLine(1, 2.0, "acme", None, encode_ledger(entry)), 2.0, bytes(16))
