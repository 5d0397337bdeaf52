"""The nudge example, started as its header says, beside a dispatcher and the runner of batches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


async def test_three_templates_make_nudges_for_everyone_in_a_table(bench):
    async with bench.dispatching(), bench.running_batches():
        told = (await bench.example(Path("nudges", "nudges.py"), "12")).splitlines()
    told = [line for line in told if re.match(r"e-\d+: ", line)]
    assert told == [f"e-{number}: positive" for number in (1, 1, 1, 2, 2, 2, 3, 3, 3, 4)]
