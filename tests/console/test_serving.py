"""The console as a process serves it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from patience import eventually

from fleet.console.serving import console_from_environment, serving
from fleet.model.errors import ConfigError
from fleet.settings.environment import Settings, load

TOKEN = "an-operator's-token"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hasty_connections: None) -> Settings:
    """Those of a console whose fleet is not there."""
    for name in os.environ:
        if name.startswith("FLEET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLEET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FLEET_NATS_URL", "nats://127.0.0.1:9")
    monkeypatch.setenv("FLEET_RAY_DASHBOARD_URL", "http://127.0.0.1:9")
    return load(console_port=0)


async def test_a_console_without_a_token_makes_one_and_gives_a_link_that_holds_it(settings: Settings) -> None:
    async with serving(settings) as served, httpx.AsyncClient(base_url=served.url) as client:
        link = urlsplit(served.entry)
        assert (link.path, link.query) == ("/login", "")
        entered = await client.post("/login", data={"token": unquote(link.fragment)})
        assert entered.status_code == 303
        assert (await client.get("/")).status_code == 200
        await eventually(lambda: _says(client, "nothing listens at nats://127.0.0.1:9"))


async def _says(client: httpx.AsyncClient, words: str) -> bool:
    """A page waits for a reading for a while only, and has less to say until it has come."""
    return words in (await client.get("/")).text


async def test_a_token_that_the_operator_chose_is_in_no_link(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_CONSOLE_TOKEN", TOKEN)
    async with serving(load(console_port=0)) as served, httpx.AsyncClient(base_url=served.url) as client:
        assert served.entry == served.url
        assert (await client.post("/login", data={"token": TOKEN})).status_code == 303


async def test_where_others_could_come_in_the_operator_must_choose_a_token(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="FLEET_CONSOLE_TOKEN"):
        async with serving(settings.model_copy(update={"console_host": "0.0.0.0"})):
            pytest.fail("it must not start")


async def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"FLEET_CONSOLE_PORT: cannot listen on 127.0.0.1 port {port}"):
            async with serving(settings.model_copy(update={"console_port": port})):
                pytest.fail("it must not start")


async def test_the_console_stops_although_somebody_still_looks(settings: Settings) -> None:
    async with serving(settings) as served, httpx.AsyncClient(base_url=served.url) as client:
        await client.post("/login", data={"token": unquote(urlsplit(served.entry).fragment)})
        stream = client.stream("GET", "/live/", timeout=None)
        answer = await stream.__aenter__()
        chunks = answer.aiter_text()
        assert "data: " in await anext(chunks)
    with pytest.raises(httpx.TransportError):
        async with httpx.AsyncClient() as later:
            await later.get(served.url)


async def test_without_a_ledger_database_the_other_pages_work(settings: Settings) -> None:
    async with serving(settings) as served, httpx.AsyncClient(base_url=served.url) as client:
        await client.post("/login", data={"token": unquote(urlsplit(served.entry).fragment)})
        assert "there is no such file" in (await client.get("/jobs")).text
        assert (await client.get("/alerts")).status_code == 200


def test_a_serve_replica_takes_everything_from_its_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="FLEET_CONSOLE_TOKEN"):
        console_from_environment()
    monkeypatch.setenv("FLEET_CONSOLE_TOKEN", TOKEN)
    assert console_from_environment().state.console.access.knows(TOKEN)


def test_a_token_in_a_file_of_settings_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f'console_token: "{TOKEN}"')
    monkeypatch.setenv("FLEET_SETTINGS", str(file))
    with pytest.raises(ConfigError, match="secrets come from the environment"):
        load()
