"""Three providers that keep a real cache of prompts and write an invoice; nothing of the fleet's own code is in them.

A prompt is its tools, instructions and messages as one text, of which four characters are a token. What was written is
found again if the text is the same from its first character on, in the same account and model, within its life. Each
provider has the rules and the usage fields of the one it is named after. The invoice is in exact decimals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

LEAST_TOKENS = 1024
"""Tokens of a beginning below which nothing is kept."""

BLOCK_TOKENS = 128
"""Tokens in whose multiples OpenAI and Groq find beginnings that nobody marked."""

NANO = Decimal("1e-9")
MILLION = Decimal(1_000_000)
FIVE_MINUTES, HALF_HOUR, HOUR, TWO_HOURS = 300.0, 1800.0, 3600.0, 7200.0

Body = Mapping[str, Any]


def tokens_of(text: str) -> int:
    return -(-len(text) // 4)


@dataclass(frozen=True, slots=True)
class PriceList:
    """Dollars per million tokens; in a batch or the tier `flex` each is half as much."""

    input: Decimal
    read: Decimal
    written: Decimal
    written_1h: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of a call, each in one place."""

    input: int = 0
    read: int = 0
    written: int = 0
    written_1h: int = 0
    output: int = 0
    thought: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.read + self.written + self.written_1h


@dataclass(slots=True)
class Invoice:
    """The invoice of a provider: the exact sum, and each call's amount rounded to the nano-dollar."""

    total: Decimal = Decimal(0)
    uncached: Decimal = Decimal(0)
    nano: int = 0
    calls: int = 0
    counted: dict[str, int] = field(default_factory=dict)

    def add(self, counted: Counted, prices: PriceList, share: Decimal) -> None:
        names = ("input", "read", "written", "written_1h", "output")
        amount = share * sum(getattr(counted, name) * getattr(prices, name) for name in names) / MILLION
        self.total += amount
        self.uncached += share * (counted.prompt * prices.input + counted.output * prices.output) / MILLION
        self.nano += int((amount / NANO).to_integral_value(ROUND_HALF_UP))
        self.calls += 1
        for name in (*names, "thought"):
            self.counted[name] = self.counted.get(name, 0) + getattr(counted, name)


class Kept:
    """Beginnings that were written, each until its life is over; a use renews it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[tuple[str, str], tuple[float, float]] = {}

    def read(self, account: str, beginnings: Iterable[str]) -> str:
        """Return the first of these beginnings, the longest first, that is kept; empty if none is."""
        for beginning in beginnings:
            until, life = self._until.get((account, beginning), (-1.0, 0.0))
            if self._now() <= until:
                self.write(account, beginning, life)
                return beginning
        return ""

    def write(self, account: str, beginning: str, life: float) -> None:
        self._until[account, beginning] = (self._now() + life, life)


@dataclass(slots=True)
class Vendor:
    """A provider. `draw` returns the tokens of the next answer, and how many of them were thought."""

    prices: PriceList
    now: Callable[[], float]
    draw: Callable[[], tuple[int, int]]
    invoice: Invoice = field(default_factory=Invoice)
    kept: Kept = field(init=False)

    def __post_init__(self) -> None:
        self.kept = Kept(self.now)

    def answer(self, body: Body, account: str, batch: bool = False) -> dict[str, Any]:
        """Return the reply to a call, and put it on the invoice."""
        counted = self.counted(body, f"{account}:{body['model']}")
        self.invoice.add(counted, self.prices, Decimal("0.5") if batch or self.is_flex(body) else Decimal(1))
        return self.reply(body, counted)

    def is_flex(self, body: Body) -> bool:
        return body.get("service_tier") == "flex"

    def counted(self, body: Body, account: str) -> Counted:
        raise NotImplementedError

    def reply(self, body: Body, counted: Counted) -> dict[str, Any]:
        raise NotImplementedError


class Anthropic(Vendor):
    """Keeps what a block with `cache_control` ends, for five minutes or an hour; reads and writes only where marked."""

    def counted(self, body: Body, account: str) -> Counted:
        text, marked = "", list[tuple[str, str]]()
        for block in self._blocks(body):
            control = block.get("cache_control")
            text += json.dumps({name: value for name, value in block.items() if name != "cache_control"})
            if control is not None and tokens_of(text) >= LEAST_TOKENS:
                marked.append((text, control.get("ttl", "5m")))
        output, thought = self.draw()
        read = self.kept.read(account, (beginning for beginning, _ in reversed(marked)))
        written = {"5m": 0, "1h": 0}
        before = tokens_of(read)
        for beginning, life in marked:
            if len(beginning) > len(read):
                written[life] += tokens_of(beginning) - before
                before = tokens_of(beginning)
                self.kept.write(account, beginning, HOUR if life == "1h" else FIVE_MINUTES)
        rest = tokens_of(text) - before
        return Counted(rest, tokens_of(read), written["5m"], written["1h"], output, thought)

    def _blocks(self, body: Body) -> Iterator[Mapping[str, Any]]:
        yield from body.get("tools", ())
        system = body.get("system", [])
        yield from [{"type": "text", "text": system}] if isinstance(system, str) else system
        for message in body["messages"]:
            content = message["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content

    def reply(self, body: Body, counted: Counted) -> dict[str, Any]:
        usage = {
            "input_tokens": counted.input,
            "cache_read_input_tokens": counted.read,
            "cache_creation_input_tokens": counted.written + counted.written_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": counted.written,
                "ephemeral_1h_input_tokens": counted.written_1h,
            },
            "output_tokens": counted.output,
            "output_tokens_details": {"thinking_tokens": counted.thought},
            "service_tier": "standard",
        }
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": "Yes."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }


@dataclass(slots=True)
class OpenAI(Vendor):
    """Keeps every prompt from 1,024 tokens on, unasked, in blocks; models whose writes cost something, in breakpoints.

    Calls without a `prompt_cache_key` go to one of `machines` by chance, calls with one to the machine of the key.
    """

    life: float = HALF_HOUR
    machines: int = 4
    has_writes: bool = True
    calls: int = 0

    def counted(self, body: Body, account: str) -> Counted:
        self.calls += 1
        machine = body.get("prompt_cache_key", self.calls % self.machines)
        text, marked = "", list[str]()
        for part in self._parts(body):
            text += json.dumps({name: value for name, value in part.items() if name != "prompt_cache_breakpoint"})
            if "prompt_cache_breakpoint" in part:
                marked.append(text)
        output, thought = self.draw()
        ends = self._ends(body, text, marked)
        ends = [each for each in ends if tokens_of(each) >= LEAST_TOKENS]
        account = f"{account}:{machine}"
        read = self.kept.read(account, reversed(ends))
        for each in ends:
            self.kept.write(account, each, self.life)
        written = tokens_of(ends[-1]) - tokens_of(read) if ends and self.has_writes else 0
        rest = tokens_of(text) - tokens_of(read) - written
        return Counted(rest, tokens_of(read), written, 0, output, thought)

    def _ends(self, body: Body, text: str, marked: list[str]) -> list[str]:
        """Return the beginnings to keep: those marked and the whole, unless the call wants the marked ones alone."""
        if not self.has_writes:
            return list(_blocks_of(text))
        explicit = body.get("prompt_cache_options", {}).get("mode") == "explicit"
        return marked if explicit else [*marked, text]

    def _parts(self, body: Body) -> Iterator[Mapping[str, Any]]:
        yield from body.get("tools", ())
        for message in body["messages"]:
            content = message["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content

    def reply(self, body: Body, counted: Counted) -> dict[str, Any]:
        details = {"cached_tokens": counted.read, "cache_write_tokens": counted.written}
        return chat_completion(body, counted, details if self.has_writes else {"cached_tokens": counted.read})


def chat_completion(body: Body, counted: Counted, details: Mapping[str, int]) -> dict[str, Any]:
    usage = {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.output,
        "total_tokens": counted.prompt + counted.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": counted.thought},
    }
    message = {"role": "assistant", "content": "Yes.", "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": usage,
    }


def groq(prices: PriceList, now: Callable[[], float], draw: Callable[[], tuple[int, int]]) -> OpenAI:
    """Return Groq: it keeps prompts unasked for two hours, and its writes cost nothing."""
    return OpenAI(prices, now, draw, life=TWO_HOURS, machines=1, has_writes=False)


def _blocks_of(text: str) -> Iterator[str]:
    """Yield the beginnings of whole blocks; the last token of a prompt is computed in any case."""
    characters = 4 * BLOCK_TOKENS
    for end in range(characters, len(text), characters):
        yield text[:end]
