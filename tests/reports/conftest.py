"""A ledger and rules with round prices for every test of reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from accounts import Accounts, call, rules_in
from savings_reports import COMPLEX, SIMPLE

from fleet.model.attempt import Usage
from policies.rules.rules import Rules


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return rules_in(tmp_path_factory.mktemp("rules"))


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path)


@pytest.fixture
def week(accounts: Accounts) -> Accounts:
    """Three jobs: kept by the small model, escalated to the large one, and one that starts in the cloud."""
    accounts.book(0, SIMPLE.lines(1, call("small", Usage(1000, 100))))
    accounts.book(1, SIMPLE.lines(2, call("small", Usage(2000, 100)), call("large", Usage(2000, 200), number=2)))
    accounts.book(2, COMPLEX.lines(3, call("mini", Usage(3000, 300))))
    return accounts
