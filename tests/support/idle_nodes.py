"""Runs Ray's own autoscaler on the node types of cluster.yaml, whose machines are pretended: raylets on this one that
offer cards they do not have. Prints as JSON where everything ran, and which nodes were left once no model did.

    python -m idle_nodes cluster.yaml deployments/serve/gpu.yaml

A process of its own, because Ray reads much of the environment once. A token guards it: it listens to the network.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import yaml

HEAD: Final = "f" * 51 + "00000"

ENVIRONMENT: Final = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid4().hex,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "RAY_NODE_TYPE_NAME": "head",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "600",
}

if __name__ == "__main__":
    os.environ |= ENVIRONMENT

import ray  # noqa: E402  # what it reads of the environment is there now
from patience import eventually_here  # noqa: E402
from ray import serve  # noqa: E402
from ray._private.node import Node  # noqa: E402
from ray._private.parameter import RayParams  # noqa: E402
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider  # noqa: E402
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE  # noqa: E402
from ray.autoscaler.v2.autoscaler import Autoscaler  # noqa: E402
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig  # noqa: E402
from ray.autoscaler.v2.sdk import get_cluster_resource_state  # noqa: E402
from ray.core.generated.autoscaler_pb2 import NodeStatus  # noqa: E402
from ray.exceptions import ActorDiedError  # noqa: E402
from ray.serve.config import HTTPOptions  # noqa: E402

OBJECT_STORE_BYTES: Final = 80_000_000

UPDATE_SECONDS: Final = 0.5
"""The pause of the autoscaler between two rounds, which is 5 s in Ray's own process."""

IDLE_SECONDS: Final = 3.0

MODELS: Final = ("llama-8b", "mixtral-8x7b")


class PretendedMachines(FakeMultiNodeProvider):  # type: ignore[misc]  # Ray ships no types
    """Ray's own provider of pretended nodes, whose head is of the type `head`."""

    def __init__(self, provider_config: Mapping[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._nodes[HEAD]["tags"][TAG_RAY_USER_NODE_TYPE] = "head"
        atexit.register(self._end)

    def _end(self) -> None:
        """End the nodes that the autoscaler has not: their processes would outlive this one."""
        for each in self._nodes.values():
            if "node" in each:
                self._terminate_node(each)


class Worker:
    """A dispatcher without work."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()

    async def run(self) -> None:
        await self._draining.wait()

    async def drain(self) -> None:
        self._draining.set()


class Pretended:
    """The cluster: its autoscaler looks round whenever the cluster is looked at."""

    def __init__(self, config: dict[str, Any]) -> None:
        offered = dict(config["available_node_types"]["head"]["resources"])
        head = RayParams(
            num_cpus=offered.pop("CPU"),
            resources=offered,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            include_log_monitor=False,
            min_worker_port=0,
            max_worker_port=0,
        )
        address = Node(head, head=True, spawn_reaper=False).gcs_address
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        self._gcs = ray._raylet.GcsClient(address=address)
        self._config = AutoscalingConfig(_pretending(config, address), skip_content_hash=True)
        self._autoscaler = Autoscaler("pretended", self, self._gcs)

    def get_cached_autoscaling_config(self) -> AutoscalingConfig:
        return self._config

    def refresh_cached_autoscaling_config(self) -> None:
        """Keep the configuration: no file changes it."""

    def nodes(self) -> dict[str, str]:
        """Return the types of the nodes that live, by id, after the autoscaler has looked round."""
        time.sleep(UPDATE_SECONDS)
        self._autoscaler.update_autoscaling_state()
        states = get_cluster_resource_state(self._gcs).node_states
        return {each.node_id.hex(): each.ray_node_type_name for each in states if each.status != NodeStatus.DEAD}

    def running(self, *names: str) -> dict[str, list[str]]:
        """Return the types of the nodes on which the replicas of each application run, once all applications do."""

        def look() -> list[dict[str, list[str]]]:
            nodes, found = self.nodes(), serve.status().applications
            if any(name not in found or found[name].status != "RUNNING" for name in names):
                return []
            return [{name: sorted(nodes[each] for each in _places(name)) for name in names}]

        return eventually_here(look)[0]

    def left(self) -> list[str]:
        """Return the types of the nodes that are left once no other than the head is."""
        return eventually_here(lambda: left if (left := list(self.nodes().values())) == ["head"] else [])


def _places(application: str) -> list[str]:
    """Return the nodes of an application's replicas; Ray's list of actors needs a dashboard, its table does not."""
    known = ray._private.state.actors().values()
    classes = f"ServeReplica:{application}:"
    return [
        each["Address"]["NodeID"]
        for each in known
        if each["State"] == "ALIVE" and each["ActorClassName"].startswith(classes)
    ]


def _pretending(config: dict[str, Any], address: str) -> dict[str, Any]:
    provider = {"type": "external", "module": "idle_nodes.PretendedMachines", "head_node_id": HEAD}
    provider |= {"gcs_address": address, "launch_multiple": True}
    provider |= {"disable_node_updaters": True, "disable_launch_config_check": True}
    types = {
        name: each
        if name == "head"
        else each | {"resources": {**each["resources"], "object_store_memory": OBJECT_STORE_BYTES}}
        for name, each in config["available_node_types"].items()
    }
    return config | {"provider": provider, "available_node_types": types, "idle_timeout_minutes": IDLE_SECONDS / 60}


def _run(application: serve.Application, name: str) -> None:
    serve.api._run(application, name=name, route_prefix=None, _blocking=False)


def _start_serve() -> None:
    """Start Serve with proxies on all nodes. It waits a minute for the first one; its controller goes on without."""
    options = HTTPOptions(host="127.0.0.1", port=0)
    try:
        serve.start(proxy_location="EveryNode", http_options=options)
    except (TimeoutError, ActorDiedError):
        serve.start(proxy_location="EveryNode", http_options=options)  # joins the controller that is there


def light(target: str) -> serve.Application:
    """Return a model without an engine that reserves what the real one does."""
    from light_model import LightModel

    from deployments.placement import bundles
    from deployments.profiles import Profile, model

    described = model(Profile.GPU, target)
    deployment = serve.deployment(
        LightModel,
        name=target,
        ray_actor_options={"num_cpus": described.replica_cpus},
        placement_group_bundles=[dict(each) for each in bundles(described)],
        placement_group_strategy="STRICT_PACK",
        graceful_shutdown_timeout_s=1.0,
    )
    return deployment.bind("one", 0.0)


def main(cluster_file: Path, deploy_file: Path) -> dict[str, Any]:
    """Return where models and dispatchers ran, which nodes were left after the models, and how long that took."""
    from deployments.app import build_host

    [args] = [
        each["args"] for each in yaml.safe_load(deploy_file.read_text())["applications"] if each["name"] == "dispatcher"
    ]
    pretended = Pretended(yaml.safe_load(cluster_file.read_text()))
    _start_serve()
    for target in MODELS:
        _run(light(target), target)
    pretended.running(*MODELS)
    _run(build_host(args | {"factory": "idle_nodes:Worker", "environment": {}, "replicas": 4}), "dispatcher")
    placed = pretended.running(*MODELS, "dispatcher")
    for target in MODELS:
        serve.delete(target, _blocking=False)
    before = time.monotonic()
    return {"placed": placed, "left": pretended.left(), "seconds": round(time.monotonic() - before, 1)}


if __name__ == "__main__":
    told = main(*map(Path, sys.argv[1:]))
    serve.shutdown()
    ray.shutdown()
    sys.stdout.write(f"\n{json.dumps(told)}\n")  # Ray prints messages of its own before
