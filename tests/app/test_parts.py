"""A killed broker keeps its port and its store; Ray's process says how it is, and may be ended at any time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import eventually
from running_processes import is_running

from fleet.app.local import parts
from fleet.app.local.ports import Ports
from fleet.app.status import ReplicaCounts
from fleet.loopback import free_port
from fleet.model.errors import BackendUnavailable
from fleet.settings.environment import load
from fleet.supervision.supervisor import Supervisor
from queues.jetstream.client.connection import connect

SPEAKING = """
import json, sys
order = json.loads(sys.stdin.readline())
def say(**what): print(json.dumps(what), flush=True)
say(urls=[f"http://127.0.0.1:{order['http_port']}", None])
"""
RUNNING = (
    SPEAKING
    + """
say(starting={"running": [], "missing": ["llama-8b", "dispatcher"], "seconds": 15})
say(starting={"running": ["llama-8b"], "missing": ["dispatcher"], "seconds": 21})
say(applications={"llama-8b": {"status": "RUNNING", "running": 1, "wanted": 1, "message": ""}})
say(ill="llama-8b")
say(well="llama-8b")
if sys.stdin.readline(): say(error="Ray's gcs_server ended")
"""
)
HANGING = """
import os, signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"], process_group=0)
open(os.path.join(os.environ["PYTHONPATH"], "child"), "w").write(str(child.pid))
while True: signal.pause()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


@pytest.fixture
def told() -> list[str]:
    """What the part says to people."""
    return []


@pytest.fixture
def models(tmp_path: Path, lock: int, told: list[str], monkeypatch: pytest.MonkeyPatch) -> parts.Models:
    """Ray's process, played by the module `played_ray` in the test's folder."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(parts.Models, "MODULE", "played_ray")
    settings = load(data_dir=tmp_path)
    return parts.models(settings, "nats://127.0.0.1:1", Ports(1, 2, 3), lock, told.append)


def play(tmp_path: Path, script: str) -> None:
    (tmp_path / "played_ray.py").write_text(script)


@pytest.mark.proves("A killed nats-server comes back on its port with the jobs that were stored", how="real")
async def test_a_killed_broker_is_there_again_with_its_jobs_and_its_clients(tmp_path: Path, lock: int) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, "fleet.log")
    broker = parts.Broker(tmp_path / "nats", free_port(), lock)
    await supervisor.add(broker)
    connection = await connect(broker.url)
    stream = connection.nats.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"a job")
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    await eventually(lambda: told[-1:] == ["nats-server was started again"])
    await eventually(lambda: connection.nats.is_connected)
    assert (await stream.stream_info("KEPT")).state.messages == 1
    await connection.close()
    await supervisor.stop()
    assert broker.pid is None


@pytest.mark.proves("fleet up says how far its models are, and which is unhealthy or healthy again", how="stand-in")
async def test_ray_says_where_it_is_and_what_runs_and_why_it_has_ended(
    models: parts.Models, tmp_path: Path, told: list[str]
) -> None:
    play(tmp_path, RUNNING)
    await models.start()
    assert (models.serve_url, models.dashboard_url) == ("http://127.0.0.1:2", None)
    assert models.replicas == {"llama-8b": ReplicaCounts("RUNNING", 1, None)}
    folder = read(tmp_path / parts.RAY_FOLDER_FILE)
    assert models.process is not None and models.process.stdin is not None
    models.process.stdin.write(b"\n")
    assert await models.ended() == "has ended (Ray's gcs_server ended)"
    await models.stop()
    assert not is_there(folder)
    assert told[2:] == [
        "15 s: still starting: llama-8b, dispatcher",
        "21 s: ready: llama-8b; still starting: dispatcher",
        "llama-8b is unhealthy: Serve starts it again (`fleet status` has more)",
        "llama-8b is healthy again",
    ]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (SPEAKING + 'say(error="not deployed: llama-8b")', "not deployed: llama-8b"),
        (SPEAKING + "sys.exit(3)", "Ray ended with exit code 3 while it started"),
        ("raise SystemExit(4)", "Ray ended with exit code 4 while it started"),
    ],
)
async def test_a_ray_that_does_not_start_says_why_and_leaves_nothing(
    script: str, words: str, models: parts.Models, tmp_path: Path
) -> None:
    play(tmp_path, script)
    with pytest.raises(BackendUnavailable, match=words):
        await models.start()
    assert not (tmp_path / parts.RAY_FOLDER_FILE).exists()


@pytest.mark.proves("A Ray that hangs while it starts does not keep `fleet up` from ending", how="stand-in")
async def test_a_ray_that_hangs_while_it_starts_is_ended_with_all_it_started(
    models: parts.Models, tmp_path: Path
) -> None:
    play(tmp_path, HANGING)
    starting = asyncio.create_task(models.start())
    child = int(await eventually(lambda: read(tmp_path / "child")))
    starting.cancel()
    await asyncio.wait([starting])
    await models.stop()
    assert not is_running(child)


def is_there(folder: str) -> bool:
    return Path(folder).exists()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
