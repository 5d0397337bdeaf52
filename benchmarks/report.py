"""Prints a benchmark's figures: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping


def show(figures: Mapping[str, float], as_json: bool) -> None:
    """Print one object, or one row per figure."""
    rounded = {name: round(value, 3) for name, value in figures.items()}
    if as_json:
        print(json.dumps(rounded))
        return
    width = max(map(len, rounded))
    for name, value in rounded.items():
        print(f"{name:<{width}}  {value:>12,.3f}")
