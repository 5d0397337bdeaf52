"""Runs Ray on this machine: started by this process, on loopback only, gone with it."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.model.errors import BackendUnavailable

LOOPBACK: Final = "127.0.0.1"

POLL_SECONDS: Final = 0.2
"""Seconds between two checks of whether everything runs."""

OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
"""Size of Ray's object store, in which the fleet keeps nothing; Ray's default would claim a third of the memory."""

SERVERS: Final = ("gcs_server", "raylet")
"""Ray's names of the servers that it cannot do without."""

ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Named after the systems where it is the default: all of Ray's own servers listen on loopback. Ray resolves
    # "127.0.0.1" as a node address to one that other machines reach, so there is no plainer way to ask.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray takes a token where it finds one lying about, and then refuses every process that has none. On loopback the
    # machine's own users are trusted; without that trust, set RAY_AUTH_MODE=token for every process.
    "RAY_AUTH_MODE": "disabled",
    # Ray gives its workers 15 steps of niceness, so that they yield to all else; but they do all of the fleet's work.
    "RAY_worker_niceness": "0",
    # Serve's controller looks round ten times a second by default, which is a quarter of one core of a laptop.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # Serve kills a proxy that is not there after 5 s, and whoever waits for that one fails: a busy laptop needs longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Environment of Ray and everything it starts, unless the caller's own environment says otherwise. Ray reads some of
it when it is imported, so nothing here imports Ray at the top."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The addresses of the running cluster. `address` is what other processes give to `ray.init`."""

    address: str
    serve_url: str
    dashboard_url: str | None


@dataclass(frozen=True, slots=True)
class ApplicationStatus:
    """An application: Serve's status word, its running replicas, those in any state (`wanted`), Serve's messages."""

    status: str
    running: int
    wanted: int
    message: str


def start(
    *, dashboard: bool = True, dashboard_port: int = 8265, http_port: int = 8000, temp_dir: Path | None = None
) -> Cluster:
    """Start Ray and Serve in this process's name.

    Nothing is written to the terminal; Ray's logs are under `temp_dir`. With `http_port` 0 Serve answers no HTTP.

    Raises: BackendUnavailable if Ray does not come up.
    """
    _set_environment()
    import ray
    from ray import serve

    options: dict[str, Any] = {"_temp_dir": str(temp_dir)} if temp_dir else {}
    try:
        context = ray.init(
            address="local",
            include_dashboard=dashboard,
            dashboard_host=LOOPBACK,
            dashboard_port=dashboard_port,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except Exception as error:
        raise BackendUnavailable(f"Ray did not start: {error}") from error
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": LOOPBACK, "port": http_port})
    url = f"http://{context.dashboard_url}" if dashboard and context.dashboard_url else None
    return Cluster(context.address_info["address"], f"http://{LOOPBACK}:{http_port}", url)


def connect(address: str) -> None:
    """Join a cluster that another process started.

    Raises: BackendUnavailable if there is none.
    """
    _set_environment()
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise BackendUnavailable(f"no Ray at {address}: {error}") from error


def _set_environment() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def deploy(
    applications: Sequence[Mapping[str, Any]], on_look: Callable[[Collection[str]], None] = lambda running: None
) -> None:
    """Apply what `deployments.serve.declared` says, and return once every application runs and its models are warm.

    Applications that were declared before and are not among them are deleted. At each look meanwhile `on_look` gets the
    names of those that run.

    Raises: BackendUnavailable with Serve's message if one fails.
    """
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    client = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate({"applications": list(applications)}))
    _wait_until_running({application["name"] for application in applications}, on_look)
    client.wait_for_proxies_serving()


def _wait_until_running(names: Collection[str], on_look: Callable[[Collection[str]], None]) -> None:
    """Wait without a time limit: a real model may take any time to arrive from the hub.

    Raises: BackendUnavailable if an application fails.
    """
    while True:
        found = {name: each.status for name, each in status().items() if name in names}
        failed = sorted(name for name, state in found.items() if state == "DEPLOY_FAILED")
        if failed:
            raise BackendUnavailable(" ".join([f"not deployed: {', '.join(failed)}.", *_complaints()]))
        running = {name for name, state in found.items() if state == "RUNNING"}
        on_look(running)
        if len(running) == len(names):
            return
        time.sleep(POLL_SECONDS)


def _complaints() -> list[str]:
    """Return the last line of the message of each application that does not run: of a traceback, the exception."""
    ill = {name: found.message for name, found in status().items() if found.status != "RUNNING" and found.message}
    return [f"{name}: {message.strip().splitlines()[-1]}" for name, message in ill.items()]


def status() -> Mapping[str, ApplicationStatus]:
    """Return every application of the cluster this process is connected to, by name."""
    from ray import serve

    return {name: _status(found) for name, found in serve.status().applications.items()}


def _status(application: Any) -> ApplicationStatus:
    deployments = application.deployments.values()
    running = sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)
    wanted = sum(sum(deployment.replica_states.values()) for deployment in deployments)
    messages = [application.message, *(deployment.message for deployment in deployments)]
    return ApplicationStatus(application.status.value, running, wanted, " ".join(filter(None, messages)))


def ended_servers() -> list[str]:
    """Return which of the servers that Ray cannot do without have ended, of those this process started."""
    from ray._private import worker

    node = worker._global_node
    return [] if node is None else [kind for kind, _ in node.dead_processes() if kind in SERVERS]


def stop() -> None:
    """Stop Serve and Ray as far as this process started them; replicas drain first."""
    import ray
    from ray import serve

    if not ray.is_initialized():  # `serve.shutdown` would start one
        return
    # Ray kills Serve's controller last, and complains on the terminal that it is gone.
    with redirect_stderr(io.StringIO()):
        serve.shutdown()
        ray.shutdown()
