from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
from console_fleet import ConsoleFleet, bad_night
from starlette.testclient import TestClient

from fleet.console.access import Access
from fleet.console.app import application

TOKEN = "an-operator's-token"

Open = Callable[..., TestClient]


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> ConsoleFleet:
    """A fleet with much to show. Tests that change it take a copy."""
    return bad_night(tmp_path_factory.mktemp("night"))


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens the console of a fleet, for somebody who is logged in unless told otherwise."""
    clients: list[TestClient] = []

    def start(fleet: ConsoleFleet, access: Access | None = None, logged_in: bool = True, root: str = "") -> TestClient:
        app = application(access or Access(TOKEN), nullcontext(fleet.sources()))
        client = TestClient(
            app, "http://console", root_path=root, follow_redirects=False, raise_server_exceptions=False
        )
        client.__enter__()
        clients.append(client)
        if logged_in:
            assert client.post(f"{root}/login", data={"token": TOKEN}).status_code == 303
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)
