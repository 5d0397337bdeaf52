"""The shipped rules."""

from __future__ import annotations

import pytest

from fleet.settings.documents import load_rules
from policies.rules.rules import Rules


@pytest.fixture(scope="session")
def rules() -> Rules:
    """Profile gpu: its contexts leave room for real prompts."""
    return load_rules(None, None, "gpu")
