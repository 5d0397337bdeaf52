from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_lines import NOON, attempt, entry, line_of
from sqlalchemy import Engine

from fleet.ledger.audit.log import Signing, identity_of
from fleet.ledger.store import LedgerStore
from fleet.model.result import LedgerEntry
from fleet.receipts.notes import SignerKey

DAY_SECONDS = 86_400.0
SIGNING = Signing("example.com/ledger", Ed25519PrivateKey.from_private_bytes(b"7" * 32))


def booked(number: int) -> LedgerEntry:
    """Return one of many lines that are not alike: two tenants, two targets, attempts and ends without one."""
    tenant = ("acme", "globex")[number % 2]
    if number % 5 == 4:
        return entry(number, tenant=tenant)
    return entry(number, attempt(target=("llama-8b", "gpt-4o")[number % 3 == 0], cost_usd=number / 1000), tenant=tenant)


@pytest.fixture
def signing() -> Signing:
    return SIGNING


@pytest.fixture
def store(engine: Engine) -> LedgerStore:
    """The writer's side of an empty database, two days after noon, with a key."""
    opened = LedgerStore(engine, lambda: NOON + 3 * DAY_SECONDS, SIGNING)
    opened.open()
    return opened


@pytest.fixture
def three_days(store: LedgerStore) -> LedgerStore:
    """Thirty lines on three days, in batches that do not end with the days."""
    lines = [line_of(n, booked(n), NOON + (n - 1) // 10 * DAY_SECONDS) for n in range(1, 31)]
    for start in range(0, 30, 7):
        store.write(lines[start : start + 7])
    return store


@pytest.fixture
def signer(three_days: LedgerStore, engine: Engine) -> SignerKey:
    with engine.connect() as connection:
        return SIGNING.key(identity_of(connection))
