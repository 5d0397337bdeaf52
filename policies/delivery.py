"""When the queue has handed out the same message too often."""

from __future__ import annotations

from policies.rules import Rules


def exhausted(deliveries: int, rules: Rules) -> bool:
    """Whether to stop: a message handed out this often crashes whoever takes it."""
    return deliveries > rules.delivery.max_deliveries
