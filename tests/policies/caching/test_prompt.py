"""Where a prompt's beginning is marked for a provider's cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.target import Target, WireFormat
from fleet.settings.documents import load_rules
from policies.caching.prompt import (
    NEVER,
    CachePrices,
    Chances,
    Expected,
    Life,
    MarkReason,
    Reuse,
    cache_prices,
    chances,
    mark,
)

PRICES = CachePrices(1.0, 0.1, {Life.MINUTES: 1.25, Life.HOUR: 2.0})
TARGETS = load_rules(None, None, "local").catalogue.targets
GPT, CLAUDE = TARGETS["gpt-4o"], TARGETS["claude-sonnet"]


def expected(first: float, more: float, in_run: bool = False, hour: float = 0.0) -> dict[Life, Expected]:
    return {
        Life.MINUTES: Expected(Chances(first, more), in_run),
        Life.HOUR: Expected(Chances(hour, 0.0), False),
    }


@pytest.mark.parametrize(("life", "reads"), [(Life.MINUTES, 0.25 / 0.9), (Life.HOUR, 1.0 / 0.9)], ids=["5m", "1h"])
def test_a_write_pays_from_so_many_reads_on(life: Life, reads: float) -> None:
    assert PRICES.gain(life, reads) == pytest.approx(0)
    assert PRICES.gain(life, reads - 0.01) < 0 < PRICES.gain(life, reads + 0.01)


@pytest.mark.parametrize(
    ("found", "kept", "being_written", "life", "reason"),
    [
        (expected(0.27, 0.0), None, False, None, MarkReason.TOO_RARE),
        (expected(0.29, 0.0), None, False, Life.MINUTES, MarkReason.PAYS),
        (expected(0.1, 0.7), None, False, Life.MINUTES, MarkReason.PAYS),
        (expected(0.0, 0.3, in_run=True), None, False, Life.MINUTES, MarkReason.PAYS),
        (expected(0.0, 0.3), None, False, None, MarkReason.TOO_RARE),
        (expected(0.0, 0.0), Life.HOUR, False, Life.HOUR, MarkReason.KEPT),
        (expected(0.9, 0.9), None, True, None, MarkReason.BEING_WRITTEN),
    ],
)
def test_a_call_is_marked_where_it_reads_or_enough_reads_are_to_come(
    found: dict[Life, Expected], kept: Life | None, being_written: bool, life: Life | None, reason: MarkReason
) -> None:
    made = mark(found, PRICES, kept, being_written)
    assert (made.life, made.reason) == (life, reason)


def test_of_two_lives_that_pay_the_one_is_taken_that_saves_more_a_call() -> None:
    rare = Chances(0.3, 0.3)
    often = Chances(0.99, 0.99)
    assert mark({Life.MINUTES: Expected(rare, False), Life.HOUR: Expected(often, False)}, PRICES, None, False).life is (
        Life.HOUR
    )
    both = Expected(often, False)
    assert mark({Life.MINUTES: both, Life.HOUR: both}, PRICES, None, False).life is Life.MINUTES


def test_nothing_is_marked_before_anything_is_known() -> None:
    nothing = chances(NEVER, NEVER)
    assert (nothing.first, nothing.more) == (0.0, 0.0)
    assert mark(dict.fromkeys(Life, Expected(nothing, False)), PRICES, None, False).reason is MarkReason.TOO_RARE


calls = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(calls, calls)
def test_chances_are_chances_whatever_was_seen(own: list[tuple[bool, bool]], others: list[tuple[bool, bool]]) -> None:
    def seen(found: list[tuple[bool, bool]]) -> Reuse:
        counts = NEVER
        for in_run, went_on in found:
            counts = counts.called(in_run)
            counts = counts.went_on(in_run) if went_on else counts
        return counts

    found = chances(seen(own), seen(others))
    assert 0 <= found.first <= 1
    assert 0 <= found.more < 1
    assert 0 < found.runs <= 1


def test_what_was_seen_long_ago_counts_less() -> None:
    counts = NEVER
    for _ in range(500):
        counts = counts.called(False).went_on(False)
    for _ in range(200):
        counts = counts.called(False)
    assert chances(counts, NEVER).first < 0.1


CACHED = replace(CLAUDE, cached_input_usd_per_million_tokens=0.1, cache_write_usd_per_million_tokens=2.5)


@pytest.mark.parametrize(
    ("target", "wire", "writes"),
    [
        (CACHED, WireFormat.ANTHROPIC, {Life.MINUTES: 2.5}),
        (
            replace(CACHED, cache_write_1h_usd_per_million_tokens=4.0),
            WireFormat.ANTHROPIC,
            {Life.MINUTES: 2.5, Life.HOUR: 4.0},
        ),
        (replace(CACHED, cache_write_usd_per_million_tokens=None), WireFormat.ANTHROPIC, {}),
        (replace(CACHED, cached_input_usd_per_million_tokens=None), WireFormat.ANTHROPIC, {}),
        (GPT, WireFormat.OPENAI, {}),
        (replace(GPT, cache_write_usd_per_million_tokens=3.125), WireFormat.OPENAI, {Life.HALF_HOUR: 3.125}),
        (
            replace(GPT, provider="elsewhere", cache_write_usd_per_million_tokens=3.125),
            WireFormat.OPENAI,
            {},
        ),
    ],
)
def test_only_lives_whose_price_is_stated_are_ever_marked(
    target: Target, wire: WireFormat, writes: dict[Life, float]
) -> None:
    found = cache_prices(target, wire)
    assert found.writes == writes
    if not writes:
        assert mark({}, found, Life.HOUR, False).reason is MarkReason.NO_PRICE
