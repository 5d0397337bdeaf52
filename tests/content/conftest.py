from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fleet.content.reading import ContentReader
from fleet.content.store import ContentStore
from fleet.content.vault import Vault
from fleet.ledger.database import database_url, engine_for

NOW = 1_000_000.0
VAULT = Vault(bytes(range(32)))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = engine_for(database_url(f"sqlite:///{tmp_path / 'content.sqlite3'}"))
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine) -> ContentStore:
    opened = ContentStore(engine, VAULT)
    opened.open()
    return opened


@pytest.fixture
def reader(store: ContentStore, engine: Engine) -> ContentReader:
    return ContentReader(engine, lambda: NOW)
