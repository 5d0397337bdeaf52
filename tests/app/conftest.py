from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from queues.server.embedded import EmbeddedServer

INVENTED_KEY = "sk-invented-for-tests-0123456789"


@pytest.fixture
def cloud_only_rules(tmp_path: Path) -> Path:
    """The shipped rules in their first phase, with backoffs that do not make a test wait."""
    rules = yaml.safe_load(Path("policies/rules.yaml").read_text())
    rules["phase"] = "phase1"
    rules["retry"]["base_seconds"] = 0.01
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


@pytest.fixture
def broker(tmp_path: Path):
    with EmbeddedServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def plain_dispatcher(fault_server, broker, cloud_only_rules):
    """`fleet dispatcher` as a process of its own, its SDKs aimed at the fault server; stopped by SIGTERM."""
    urls = fault_server.base_urls
    environment = os.environ | {
        "FLEET_NATS_URL": broker.url,
        "FLEET_RULES_PATH": str(cloud_only_rules),
        "FLEET_OPENAI_BASE_URL": urls["openai"],
        "FLEET_ANTHROPIC_BASE_URL": urls["anthropic"],
        "OPENAI_API_KEY": INVENTED_KEY,
        "ANTHROPIC_API_KEY": INVENTED_KEY,
    }

    @asynccontextmanager
    async def running(**changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
        command = [sys.executable, "-m", "fleet.cli", "dispatcher"]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment | changes, stderr=asyncio.subprocess.PIPE
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
            process.logs = errors.decode()

    return running
