from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from deployments import cluster
from deployments.cluster import ApplicationStatus
from deployments.profiles import Profile
from deployments.serve.declared import Declared
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


class Serve:
    """Serve's client and its status: each look at it is the next of `looks`, the last for ever."""

    def __init__(self, *looks: SimpleNamespace) -> None:
        self.looks = list(looks)
        self.config: ServeDeploySchema | None = None
        self.proxies_awaited = False

    def deploy_apps(self, config: ServeDeploySchema) -> None:
        self.config = config

    def wait_for_proxies_serving(self) -> None:
        self.proxies_awaited = True

    def status(self) -> SimpleNamespace:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@pytest.fixture
def serving(monkeypatch):
    def answers(*looks):
        serve = Serve(*looks)
        monkeypatch.setattr("ray.serve.context._get_global_client", lambda: serve)
        monkeypatch.setattr("ray.serve.status", serve.status)
        monkeypatch.setattr(cluster, "POLL_SECONDS", 0.0)
        return serve

    return answers


APPLICATIONS = Declared(Profile.LOCAL, ["llama-8b"], host={"factory": "a:b"}).applications()
BUILDING = serve_status(llama_8b=("RUNNING", "", {}, ""))
STARTING = serve_status(llama_8b=("RUNNING", "", {}, ""), dispatcher=("DEPLOYING", "", {"STARTING": 1}, ""))
RUNNING = serve_status(llama_8b=("RUNNING", "", {}, ""), dispatcher=("RUNNING", "", {"RUNNING": 1}, ""))


def test_deploying_ends_when_everything_declared_runs_though_a_model_has_no_replica(serving):
    serve = serving(BUILDING, STARTING, RUNNING)
    cluster.deploy(APPLICATIONS)
    assert serve.looks == [RUNNING]
    assert serve.proxies_awaited
    assert [application.model_dump(exclude_unset=True) for application in serve.config.applications] == APPLICATIONS


@pytest.mark.proves("A model that does not start ends the deployment with Serve's reason", how="stand-in")
def test_a_model_that_does_not_start_ends_the_deploying_with_serves_last_word(serving):
    failed = serve_status(
        llama_8b=("DEPLOY_FAILED", "Traceback\nValueError: no such weights", {}, ""),
        dispatcher=("DEPLOYING", "", {"STARTING": 1}, ""),
    )
    serving(BUILDING, failed)
    with pytest.raises(BackendUnavailable, match=r"not deployed: llama-8b\. llama-8b: ValueError: no such weights"):
        cluster.deploy(APPLICATIONS)
