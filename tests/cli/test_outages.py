"""A command that waits for a broker that went away says so, instead of waiting in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import eventually

from fleet.cli.connection import OUTAGES, open_desk
from fleet.settings.environment import load
from queues.server.embedded import EmbeddedServer


@pytest.mark.proves("A command that waits says so when its broker is away, and when it is back", how="real")
async def test_a_command_says_when_its_broker_is_away_and_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def lines() -> list[str]:
        said.extend(capsys.readouterr().err.splitlines())
        return said

    with EmbeddedServer(tmp_path) as server:
        async with open_desk(load(nats_url=server.url)):
            assert lines() == []
            server.stop()
            await eventually(lambda: len(lines()) == 1)
            server.start()
            await eventually(lambda: len(lines()) == 2)
    assert lines() == [f"· {OUTAGES['broker_lost']}", f"· {OUTAGES['broker_found_again']}"]
