"""The RayService and its machines: what KubeRay, Ray and the profile have to agree on."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest
import ray
import yaml
from manifest_files import CLUSTER, FOLDER, GROUPS, IMAGES, PODS, RAY, files, named, of
from pages import ROOT
from ray._private import ray_constants
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

from deployments.placement import NodeType, machines, misplaced
from deployments.weights.__main__ import _parser


def nodes() -> list[NodeType]:
    """The groups as Ray's own autoscaler reads them."""
    custom = {"metadata": {"namespace": "fleet", "name": "fleet"}, "spec": CLUSTER}
    read = _derive_autoscaling_config_from_ray_cr(custom)["available_node_types"]
    return [
        NodeType.rented(name, read[name]["resources"], read[name]["max_workers"], machine(group))
        for name, group in GROUPS.items()
    ]


def machine(group: dict[str, Any]) -> str:
    instance: str = group["template"]["spec"]["nodeSelector"]["node.kubernetes.io/instance-type"]
    return instance


@pytest.mark.proves(
    "RayService deploys the same Serve configuration as the cluster on AWS, and Serve accepts it", how="schema"
)
def test_the_serve_configuration_is_that_of_the_gpu_profile():
    """Copy deployments/serve/gpu.yaml under `serveConfigV2`, indented by four, where this fails."""
    configured = yaml.safe_load(RAY["serveConfigV2"])
    assert configured == yaml.safe_load((FOLDER.parent / "serve" / "gpu.yaml").read_text())
    ServeDeploySchema.model_validate(configured)


@pytest.mark.proves("The images and the Serve configuration that are applied together are of one version", how="lint")
def test_the_images_are_tagged_with_the_version_of_the_configuration_beside_them():
    """With KubeRay's `NewCluster` the new configuration then meets the new code alone."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert [image["newTag"] for image in IMAGES] == [version] * len(IMAGES)
    assert RAY["upgradeStrategy"] == {"type": "NewCluster"}


@pytest.mark.proves("The RayService sets the tested version of Ray and a token for every caller", how="lint")
def test_ray_is_the_version_that_is_installed_and_guarded_by_a_token():
    assert CLUSTER["rayVersion"] == ray.__version__
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert CLUSTER["enableInTreeAutoscaling"] is True


@pytest.mark.proves("Ray knows the variable that says how long a node drains at SIGTERM", how="schema")
def test_ray_reads_how_long_a_node_drains():
    name = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
    assert getattr(ray_constants, name) == 30.0, "shorter than a call: what the manifests say otherwise for"
    for template in (CLUSTER["headGroupSpec"]["template"], *(group["template"] for group in GROUPS.values())):
        [container] = template["spec"]["containers"]
        assert name in {each["name"] for each in container["env"]}


ENDS_AS_TOLD = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.proves("SIGTERM to a pod's first process reaches Ray, which KubeRay starts from a shell", how="stand-in")
def test_the_shell_that_kuberay_starts_ray_from_is_not_there_any_more_when_ray_runs():
    """The form is that of KubeRay 1.7 (controllers/ray/common/pod.go). A shell between would end and tell nobody."""
    command = [
        "/bin/bash",
        "-c",
        "--",
        f"ulimit -n 1024; {sys.executable} -c '{ENDS_AS_TOLD.replace(chr(39), chr(34))}'",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdout is not None
        assert pod.stdout.readline() == "ready\n"
        pod.terminate()
        assert pod.wait() == 7


@pytest.mark.proves("Ray's autoscaler finds a worker group with the right cards for every model", how="schema")
def test_every_model_has_its_place_among_the_workers():
    found = nodes()
    assert misplaced(found, sum(node.most for node in found)) == []


def test_a_group_on_smaller_cards_would_be_noticed():
    small = [NodeType(node.name, node.resources, node.most, machines().gpus["a100-40gb"]) for node in nodes()]
    assert any(line.startswith("mixtral-8x7b: may be placed on a100") for line in misplaced(small, 6))


@pytest.mark.proves("The manifests ask Kubernetes for the cards and CPUs that a GPU worker offers to Ray", how="lint")
@pytest.mark.parametrize("name", GROUPS)
def test_a_worker_asks_kubernetes_for_what_it_tells_ray_it_has(name):
    group = GROUPS[name]
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    told = group["rayStartParams"]
    assert requests["nvidia.com/gpu"] == told["num-gpus"] == str(machines().instances[machine(group)].gpus)
    assert int(requests["cpu"]) >= int(told["num-cpus"])
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.proves(
    "The files place Ray's dispatchers on the head alone, and their login and providers' keys too", how="lint"
)
def test_dispatchers_run_only_where_their_secrets_are():
    applications = yaml.safe_load(RAY["serveConfigV2"])["applications"]
    [node] = [each["args"]["node"] for each in applications if each["name"] == "dispatcher"]
    offers = {"head": CLUSTER["headGroupSpec"]["rayStartParams"], **{k: g["rayStartParams"] for k, g in GROUPS.items()}}
    assert [name for name, told in offers.items() if node in told.get("resources", "")] == ["head"]
    [container] = CLUSTER["headGroupSpec"]["template"]["spec"]["containers"]
    assert [each["secretRef"]["name"] for each in container["envFrom"]] == ["dispatcher", "providers"]


@pytest.mark.proves(
    "The manifests fetch weights once, at pinned revisions, and have workers not ask the hub", how="lint"
)
def test_the_weights_are_fetched_to_where_the_engines_look_for_them():
    fetching = PODS["weights"]["spec"]
    [container] = fetching["containers"]
    python, dash_m, module, *arguments = container["command"]
    assert (python, dash_m, module) == ("python", "-m", "deployments.weights")
    told = _parser().parse_args(arguments)
    [claim] = [each["persistentVolumeClaim"]["claimName"] for each in fetching["volumes"] if each["name"] == "weights"]
    assert {"name": "weights", "mountPath": str(told.into)} in container["volumeMounts"]
    assert named("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in GROUPS.values():
        [worker] = group["template"]["spec"]["containers"]
        variables = {each["name"]: each.get("value") for each in worker["env"]}
        assert (variables["HF_HUB_CACHE"], variables["HF_HUB_OFFLINE"]) == (str(told.into), "1")
        assert {"name": "weights", "mountPath": str(told.into), "readOnly": True} in worker["volumeMounts"]
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        assert volumes["weights"]["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}


@pytest.mark.proves("Workers ask for no more disk than the machines of the example have of their own", how="lint")
def test_the_machines_of_the_example_have_the_disk_that_workers_ask_for():
    nvme_gib = {"g5.xlarge": 230, "p4de.24xlarge": 7400}  # one of 250 GB, eight of 1 TB
    nodes_ = [each for path in files(FOLDER / "aws") for each in yaml.safe_load_all(path.read_text())]
    [pool] = [each for each in nodes_ if each["kind"] == "NodePool" and each["metadata"]["name"] == "fleet-models"]
    needs = {each["key"]: each["values"] for each in pool["spec"]["template"]["spec"]["requirements"]}
    assert needs["karpenter.sh/capacity-type"] == ["spot", "on-demand"]
    assert set(needs["node.kubernetes.io/instance-type"]) == {machine(group) for group in GROUPS.values()}
    [named_class] = [
        each for each in nodes_ if each["kind"] == "EC2NodeClass" and each["metadata"]["name"] == "fleet-models"
    ]
    assert named_class["spec"]["instanceStorePolicy"] == "RAID0"
    for group in GROUPS.values():
        asked = group["template"]["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"]
        assert int(asked.removesuffix("Gi")) < nvme_gib[machine(group)]
    cards = sum(group["maxReplicas"] * int(group["rayStartParams"]["num-gpus"]) for group in GROUPS.values())
    assert int(pool["spec"]["limits"]["nvidia.com/gpu"]) == cards
    [control] = [each for each in nodes_ if each["kind"] == "NodePool" and each["metadata"]["name"] == "fleet-control"]
    told = {each["key"]: each["values"] for each in control["spec"]["template"]["spec"]["requirements"]}
    assert told["karpenter.sh/capacity-type"] == ["on-demand"]
    classes = {each["metadata"]["name"] for each in nodes_ if each["kind"] == "StorageClass"}
    claims = [each["spec"] for each in of("PersistentVolumeClaim")]
    claims += [each["spec"] for set_ in of("StatefulSet") for each in set_["spec"].get("volumeClaimTemplates", ())]
    assert {each["storageClassName"] for each in claims} == classes
