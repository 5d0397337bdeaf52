"""A client that is not Python: Node, with a NATS client from npm and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from deployments.standins.tasks import examples

pytestmark = pytest.mark.e2e

SOURCE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node(tmp_path_factory) -> Path:
    """The Node client with its one dependency installed."""
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], folder)
    return folder


def test_a_node_service_gets_its_answer(fleet, node):
    [job] = examples("heldout", 3, 1, task="classify.sentiment")
    told = _run(["node", "client.mjs", fleet.nats_url, "acme", job.messages[-1]["content"]], node)
    result = json.loads(told)
    assert result["status"] == "succeeded"
    assert result["message"]["role"] == "assistant"
    assert result["attempts"][0]["target"] == "llama-8b"


def _run(command: list[str], folder: Path) -> str:
    # node and npm come from PyPI with the dev tools and lie beside this interpreter
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "npm_config_cache": str(folder / ".npm")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
