"""Says what each way of making a call adds to a direct one, and what the gateway adds to `client.run`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.peers.calls import Synchronous
from benchmarks.peers.table import RateRatio, comparison, percentiles

Times = Callable[[Synchronous], Sequence[float]]

WAYS: Mapping[str, Times] = {
    "direct": lambda each: each.direct_ms,
    "litellm proxy": lambda each: each.proxy_ms,
    "fleet client.run": lambda each: each.client_ms,
    "fleet gateway": lambda each: each.gateway_ms,
}
CUTS = ("p50", "p99")


def calls_of(rounds: Sequence[Synchronous]) -> list[dict[str, Any]]:
    """Return for each way the medians of the rounds, and what it adds to a direct call."""
    return [
        {
            "way": way,
            **{f"{cut}_ms": statistics.median(_cuts(rounds, times, cut)) for cut in CUTS},
            **{f"added_{cut}_ms": statistics.median(_added(rounds, times, WAYS["direct"], cut)) for cut in CUTS},
        }
        for way, times in WAYS.items()
        if rounds
    ]


def gateway_of(rounds: Sequence[Synchronous]) -> dict[str, float]:
    """Return the milliseconds that the gateway adds to `client.run`: the median of the rounds, and their range."""
    if not rounds:
        return {}
    found: dict[str, float] = {}
    for cut in CUTS:
        added = _added(rounds, WAYS["fleet gateway"], WAYS["fleet client.run"], cut)
        found |= {f"{cut}_ms": statistics.median(added), f"{cut}_ms_low": min(added), f"{cut}_ms_high": max(added)}
    return found


def over_proxy(rounds: Sequence[Synchronous], note: str) -> RateRatio:
    """Compare what the gateway and what the LiteLLM proxy add to a direct call, at the median, round by round."""
    gateway, proxy = (_added(rounds, WAYS[way], WAYS["direct"], CUTS[0]) for way in ("fleet gateway", "litellm proxy"))
    if any(each <= 0 for each in (*gateway, *proxy)):
        return RateRatio(None, reason="in one of the rounds a direct call took longer")
    return comparison(gateway, proxy, note)


def _cuts(rounds: Sequence[Synchronous], times: Times, cut: str) -> list[float]:
    return [percentiles(times(each))[CUTS.index(cut)] for each in rounds]


def _added(rounds: Sequence[Synchronous], times: Times, to: Times, cut: str) -> list[float]:
    return [own - other for own, other in zip(_cuts(rounds, times, cut), _cuts(rounds, to, cut), strict=True)]
