"""The accounts of three providers equal their invoices, and marks cost hardly more than the best fixed choice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from benchmarks.prompt_cache.accounts import run_calls
from benchmarks.prompt_cache.reuse import PRICES, by_rule, fixed, hindsight, scenes
from policies.caching.prompt import CachePrices, Life


async def test_the_accounts_of_every_provider_equal_its_invoice_to_the_nano_dollar() -> None:
    trial = await run_calls(300)
    for provider, account in trial.accounts.items():
        invoice = trial.invoices[provider]
        assert account.nano == account.ledger_nano == invoice.nano, provider
        assert abs(account.nano - invoice.total * 10**9) <= Decimal(invoice.calls) / 2
        assert account.answers == invoice.calls
        counted = invoice.counted
        assert account.tokens["cached_input_tokens"] == counted["read"]
        assert account.tokens["cache_write_1h_tokens"] == counted["written_1h"]
        assert account.tokens["cache_write_tokens"] == counted["written"] + counted["written_1h"]
    assert sum(account.failures for account in trial.accounts.values())
    kinds = {
        provider: {name for name, tokens in each.counted.items() if tokens} for provider, each in trial.invoices.items()
    }
    assert kinds["anthropic"] == {"input", "read", "written", "written_1h", "output", "thought"}
    assert kinds["openai"] == {"input", "read", "written", "output", "thought"}
    assert kinds["groq"] == {"input", "read", "output", "thought"}


SCENES = scenes(seed=1)


@pytest.mark.parametrize(
    "name",
    [
        "each only once",
        "each for one to three turns",
        "every 300 s by chance",
        "every 3600 s by chance",
        "five calls an hour",
        "one often, others once",
    ],
)
def test_marks_cost_at_most_two_in_a_hundred_more_than_the_best_fixed_choice(name: str) -> None:
    scene = SCENES[name]
    paid = by_rule(scene.stream, PRICES)
    assert paid <= 1.02 * fixed(scene, PRICES)
    assert paid >= hindsight(scene.stream, PRICES)


def test_without_a_price_that_can_pay_nothing_is_marked() -> None:
    scene = SCENES["every 300 s by chance"]
    dear = CachePrices(1.0, 0.99, {Life.MINUTES: 3.0})
    assert by_rule(scene.stream, dear) == len(scene.stream)
