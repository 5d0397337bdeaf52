"""A Ray cluster whose autoscaler is real and whose GPU machines are pretended: each is a raylet on this machine.

It uses Ray's own fake provider, as an external one: under its own name Ray looks for an example file that its wheel
does not have. `use_node_id_as_ip` lets machines go away again under the autoscaler's first version, which finds their
idle time by address; all have the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from benchmarks.autoscaler.engine import MACHINE
from deployments.cluster import ENVIRONMENT, LOOPBACK
from fleet.loopback import free_port

HEAD: Final = "f" * 51 + "00000"
"""The fake provider's name for the head."""

HEAD_CPUS: Final = 4
STORE_BYTES: Final = 100_000_000
IDLE_MINUTES: Final = 0.1
START_SECONDS: Final = 600
LOOK_SECONDS: Final = 0.1

RAY: Final = {
    "RAY_FAKE_CLUSTER": "1",
    # The autoscaler that `ray up` and KubeRay start in Ray 2.60; on its own, `ray start` would take the older one.
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    # A dead machine refuses connections at once, five times in a row; a slow one is not mistaken for it.
    "RAY_health_check_period_ms": "1000",
}

LAUNCHER_STEPS: Final = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
    *("cluster_synced_files", "rsync_exclude", "rsync_filter"),
)

SECRETS: Final = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster. `folder` has Ray's logs."""

    address: str
    folder: Path

    @property
    def controller_log(self) -> str:
        """The whole log of Serve's controller.

        Not by way of `session_latest`: each machine that joins takes that link away and makes it again.
        """
        paths = self.folder.glob("session_[0-9]*/logs/serve/controller_*.log")
        return "\n".join(path.read_text(errors="replace") for path in sorted(paths))

    def machines(self) -> Mapping[str, psutil.Process]:
        """Return the raylet of each pretend machine by its Ray node, from the operating system."""
        found = {}
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or []
            if process.info["name"] == "raylet" and f"--temp_dir={self.folder}" in words:
                [node] = [word.partition("=")[2] for word in words if word.startswith("--node_id=")]
                found[node] = process
        found.pop(HEAD, None)
        return found

    def kill(self, node: str) -> None:
        """Cut the machine's power: everything on it ends at once."""
        raylet = self.machines()[node]
        _kill([raylet, *raylet.children(recursive=True)])


def environment() -> dict[str, str]:
    """Return our environment for Ray's processes, without what leads to other clusters, fleets or the internet."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "FLEET_")) and name not in SECRETS
    }
    return kept | ENVIRONMENT


@contextmanager
def running(folder: Path, most: int, env: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a head without a GPU and up to `most` machines with one. All of Ray's processes inherit `env`."""
    address = f"{LOOPBACK}:{free_port()}"
    config = folder / "cluster.json"
    config.write_text(json.dumps(_config(address, most)))
    log = folder / "start.log"
    with log.open("w") as told:
        started = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", *_arguments(address, config, folder)],
            env={**env, **RAY},
            stdout=told,
            stderr=told,
            start_new_session=True,  # everything in it is ours to end
        )
    try:
        if started.wait(START_SECONDS) != 0:
            raise RuntimeError(f"Ray did not start: {log.read_text()}")
        yield Cluster(address, folder)
    finally:
        end_session(started.pid)


def _arguments(address: str, config: Path, folder: Path) -> Iterator[str]:
    yield from (
        "--head",
        f"--node-ip-address={LOOPBACK}",
        f"--port={address.rpartition(':')[2]}",
        f"--autoscaling-config={config}",
    )
    yield from (f"--num-cpus={HEAD_CPUS}", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}")
    yield from (f"--temp-dir={folder}", "--include-dashboard=false", "--disable-usage-stats")
    # Ray's defaults may belong to another cluster on this machine.
    yield from (f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0")
    yield from ("--min-worker-port=0", "--max-worker-port=0")


def _config(gcs_address: str, most: int) -> Mapping[str, Any]:
    return {
        "cluster_name": "pretend",
        "max_workers": most,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": gcs_address,
            "head_node_id": HEAD,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        # What a cluster launcher would do on a new machine; none may be missing.
        **{step: [] for step in LAUNCHER_STEPS},
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": HEAD_CPUS}, "node_config": {}, "max_workers": 0},
            "gpu": {
                "resources": {**MACHINE, "object_store_memory": STORE_BYTES},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
    }


def end_session(session: int) -> None:
    """Kill until no process of the session is left: Ray's processes start each other, and some ignore a signal."""
    while members := [process for process in psutil.process_iter() if _is_member(process, session)]:
        _kill(members)
        time.sleep(LOOK_SECONDS)


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
