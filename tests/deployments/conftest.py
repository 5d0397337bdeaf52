from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import yaml

import deployments


class ScriptedStream:
    """What a Serve handle returns: an item is handed out, an exception raised, None waits for ever."""

    def __init__(self, script: Sequence[Any]) -> None:
        self._script = list(script)
        self.cancelled = False

    async def __anext__(self) -> Any:
        if not self._script:
            raise StopAsyncIteration
        item = self._script.pop(0)
        if item is None:
            await asyncio.Event().wait()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ScriptedHandle:
    """The remote method of a Serve handle, answering from a script."""

    script: Sequence[Any] | Exception
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    stream: ScriptedStream | None = None
    sessions: list[str] = field(default_factory=list)

    def options(self, *, session_id: str) -> ScriptedHandle:
        self.sessions.append(session_id)
        return self

    def remote(
        self, requests: Sequence[Any], timeouts_seconds: Sequence[float], ids: Sequence[str], *adapted: Any
    ) -> ScriptedStream:
        self.sent.append((requests, timeouts_seconds, ids, *adapted))
        if isinstance(self.script, Exception):
            raise self.script
        self.stream = ScriptedStream(self.script)
        return self.stream


@pytest.fixture
def outside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for its context, as Serve does where an application is built, Ray would start, or join what it finds."""
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(runtime_env={}))


@pytest.fixture
def scripted_handle() -> type[ScriptedHandle]:
    return ScriptedHandle


@pytest.fixture
def config() -> dict[str, Any]:
    """The cluster file as its owner has filled it in."""
    config = yaml.safe_load((Path(deployments.__file__).parents[1] / "cluster.yaml").read_text())
    ami = "ami-0123456789abcdef0"
    for described in config["available_node_types"].values():
        subnets = [f"subnet-0123456789abcdef{number}" for number in range(len(described["node_config"]["SubnetIds"]))]
        described["node_config"] |= {
            "SubnetIds": subnets,
            "SecurityGroupIds": ["sg-0a1b2c3d"],
            "ImageId": ami,
        }
    return config
