"""Machines with cards end once no model runs there: Ray's own autoscaler and Serve, on pretended machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from pages import ROOT
from patience import PATIENCE_SECONDS

pytestmark = pytest.mark.e2e


@pytest.mark.proves(
    "Dispatchers run on the head, and machines with cards end once no model runs there", how="fake nodes"
)
def test_dispatchers_stay_on_the_head_and_machines_with_cards_end_when_the_models_are_gone():
    path = os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)])
    command = [sys.executable, "-m", "idle_nodes", "cluster.yaml", "deployments/serve/gpu.yaml"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["placed"] == {"llama-8b": ["a10g"], "mixtral-8x7b": ["a100"], "dispatcher": ["head"] * 4}
    assert told["left"] == ["head"]
