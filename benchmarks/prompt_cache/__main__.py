"""Compares the accounts of three providers with their invoices, and the marks that are set with those that pay best.

The calls go through the fleet's backends and the vendors' SDKs to three providers on loopback, each with a cache of
prompts that finds what was written and forgets it, the usage fields of the one it is named after, and an invoice in
exact decimals: with tools and without, for four tenants, some at once, at usual, flex and batch prices; one in fifty
is refused. A batch's rows are the same bodies and replies without HTTP, and no reply is streamed: the fleet asks for
whole answers. `difference_nano_usd` is that of the accounts,
`ledger_difference_nano_usd` that of the ledger's rows, from the invoice with each call rounded to a nano-dollar;
`difference_usd` is that from the exact sum. `over_plain` is the invoice over the price of the same tokens without any
cache.

Regrets are of simulated streams of calls: the price by the rule over that of the best fixed choice for each beginning
(`regret`), and over the least that hindsight could pay (`over_hindsight`), less one.

    python -m benchmarks.prompt_cache [--calls 10000] [--seed 1] [--no-regret] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping

from benchmarks.prompt_cache.accounts import run_calls
from benchmarks.prompt_cache.reuse import PRICES, by_rule, fixed, hindsight, scenes
from benchmarks.report import show


def accounts(calls: int, seed: int) -> Iterator[tuple[str, float]]:
    trial = asyncio.run(run_calls(calls, seed))
    for provider, account in trial.accounts.items():
        invoice = trial.invoices[provider]
        yield f"{provider}_calls", invoice.calls
        yield f"{provider}_difference_nano_usd", account.nano - invoice.nano
        yield f"{provider}_ledger_difference_nano_usd", account.ledger_nano - invoice.nano
        yield f"{provider}_difference_usd", float(account.nano - invoice.total * 10**9) / 1e9
        yield f"{provider}_invoice_usd", float(invoice.total)
        yield f"{provider}_over_plain", float(invoice.total / invoice.uncached)
        for name in ("read", "written", "written_1h"):
            yield f"{provider}_{name}_tokens", invoice.counted[name]


def regrets(seed: int) -> Mapping[str, float]:
    found, paid, best, least = dict[str, float](), 0.0, 0.0, 0.0
    for name, scene in scenes(seed).items():
        here, there = by_rule(scene.stream, PRICES), fixed(scene, PRICES)
        paid, best, least = paid + here, best + there, least + hindsight(scene.stream, PRICES)
        found[f"regret, {name}"] = here / there - 1
    return found | {"regret": paid / best - 1, "over_hindsight": paid / least - 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-regret", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = dict(accounts(options.calls, options.seed))
    show(found if options.no_regret else {**found, **regrets(options.seed)}, options.json)


if __name__ == "__main__":
    main()
