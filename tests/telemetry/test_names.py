"""The names of the conventions stand in one module."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for room in ("fleet", "policies", "queues", "deployments") for path in (ROOT / room).rglob("*.py")
)


@pytest.mark.parametrize("prefix", ["gen_ai.", "messaging."])
def test_no_other_module_spells_a_name_of_the_conventions(prefix: str) -> None:
    found = [str(path.relative_to(ROOT)) for path in SOURCES if f'"{prefix}' in path.read_text()]

    assert found == ["fleet/telemetry/names.py"]
