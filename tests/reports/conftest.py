"""A ledger and rules with round prices for every test of reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from accounts import Accounts, rules_in

from policies.rules.rules import Rules


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return rules_in(tmp_path_factory.mktemp("rules"))


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path)
