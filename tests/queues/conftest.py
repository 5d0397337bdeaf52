from __future__ import annotations

from collections.abc import Iterator

import pytest

from queues.server.embedded import EmbeddedServer


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that a test may stop and start."""
    with EmbeddedServer(tmp_path_factory.mktemp("nats")) as server:
        yield server
