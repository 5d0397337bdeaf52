from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from deployments import cluster
from deployments.cluster import ApplicationStatus
from fleet.model.errors import BackendUnavailable

LAUNCHER = Path(__file__).parents[2] / "cluster.yaml"


def test_the_launcher_file_is_one_that_ray_accepts():
    validate_config(prepare_config(yaml.safe_load(LAUNCHER.read_text())))


def serve_status(**applications):
    """As `serve.status()` gives it: (application status, message, replicas by state, deployment message)."""
    return SimpleNamespace(
        applications={
            name.replace("_", "-"): SimpleNamespace(
                status=SimpleNamespace(value=status),
                message=message,
                deployments={"one": SimpleNamespace(replica_states=states, message=said)},
            )
            for name, (status, message, states, said) in applications.items()
        }
    )


def test_the_status_counts_replicas_and_joins_what_serve_says(monkeypatch):
    found = serve_status(
        llama_8b=("RUNNING", "", {"RUNNING": 2}, ""),
        llama_70b=("DEPLOYING", "slow", {"RUNNING": 1, "STARTING": 2}, "no node with a GPU"),
    )
    monkeypatch.setattr("ray.serve.status", lambda: found)
    assert cluster.status() == {
        "llama-8b": ApplicationStatus("RUNNING", 2, 2, ""),
        "llama-70b": ApplicationStatus("DEPLOYING", 1, 3, "slow no node with a GPU"),
    }


@pytest.fixture
def environment(monkeypatch):
    for name in cluster.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_ray_is_started_on_loopback_silently_and_by_us(environment):
    asked = {}

    def init(**options):
        asked.update(options)
        return SimpleNamespace(address_info={"address": "127.0.0.1:1"}, dashboard_url="127.0.0.1:2")

    environment.setattr("ray.init", init)
    environment.setattr("ray.serve.start", lambda http_options: asked.update(http=http_options))
    found = cluster.start(dashboard_port=2, http_port=3)
    assert found == cluster.Cluster("127.0.0.1:1", "http://127.0.0.1:3", "http://127.0.0.1:2")
    assert (asked["address"], asked["dashboard_host"], asked["log_to_driver"]) == ("local", "127.0.0.1", False)
    assert asked["http"] == {"host": "127.0.0.1", "port": 3}


def test_the_callers_own_environment_wins(environment):
    environment.setenv("RAY_AUTH_MODE", "token")
    environment.setattr("ray.init", lambda **options: None)
    cluster.connect("127.0.0.1:1")
    import os

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_ray_that_does_not_start_is_a_backend_that_is_unavailable(environment):
    def init(**options):
        raise ConnectionError("no room")

    environment.setattr("ray.init", init)
    with pytest.raises(BackendUnavailable, match="no room"):
        cluster.start()
    with pytest.raises(BackendUnavailable, match="no room"):
        cluster.connect("127.0.0.1:1")


def test_the_root_logger_survives_the_import_of_rays_llm_package():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with cluster._root_logger_kept():
        root.handlers = [logging.NullHandler()]
        root.setLevel(logging.INFO)
    assert (root.handlers, root.level) == before
