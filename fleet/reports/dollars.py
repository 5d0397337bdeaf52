"""Writes nano-dollars for people and for spreadsheets."""

from __future__ import annotations

from fleet.model.money import NanoUsd
from policies.money import nano_of

NANO = 1_000_000_000


def exact(amount: NanoUsd) -> str:
    """Return the amount as a decimal number of US dollars, to the last digit."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{amount // NANO}.{amount % NANO:09d}"


def price(cost_usd: float) -> str:
    """Return what a job or a call cost, to the last digit: at least to the millionth, as most prices are as small."""
    whole, digits = exact(nano_of(cost_usd)).split(".")
    return f"${whole}.{digits[:6]}{digits[6:].rstrip('0')}"


def shown(amount: NanoUsd | None) -> str:
    """Return the amount for people: to the cent from a dollar on, finer below, and below a cent to the last digit."""
    if amount is None:
        return "not known"
    sign, size = "-" if amount < 0 else "", abs(amount)
    if size >= NANO // 100:
        return f"{sign}${size / NANO:,.{2 if size >= NANO else 4}f}"
    return f"{sign}${size / NANO:.9f}".rstrip("0") if size else "$0"
