from __future__ import annotations

from pathlib import Path

import pytest
from ledger_lines import NOON
from ledger_writers import FailingStore
from sqlalchemy import Engine

from fleet.ledger.database import database_url, engine_for
from queues.memory import MemoryBroker


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(now=lambda: NOON)


@pytest.fixture
def file_engine(tmp_path: Path) -> Engine:
    return engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))


@pytest.fixture
def store(file_engine: Engine) -> FailingStore:
    return FailingStore(file_engine, lambda: NOON)
