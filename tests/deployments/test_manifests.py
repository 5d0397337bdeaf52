from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from pages import parse
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema

import deployments
from deployments.placement import NodeType, machines, misplaced
from fleet.settings.environment import Settings
from queues.server.config import ClusterLayout, Tls, files_of, servers_at

FOLDER = Path(deployments.__file__).parent / "kubernetes"

KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())

DOCUMENTS: list[dict[str, Any]] = [
    document for path in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((FOLDER / path).read_text())
]


def of(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


def named(kind: str, name: str) -> dict[str, Any]:
    return next(document for document in of(kind) if document["metadata"]["name"] == name)


RAY = named("RayService", "fleet")["spec"]
CLUSTER = RAY["rayClusterConfig"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}

PODS = {
    **{each["metadata"]["name"]: each["spec"]["template"] for each in (*of("StatefulSet"), *of("Deployment"))},
    "ray head": CLUSTER["headGroupSpec"]["template"],
    **{f"ray {name}": group["template"] for name, group in GROUPS.items()},
}

CONTAINERS = [
    pytest.param(template["spec"], container, id=name)
    for name, template in PODS.items()
    for container in template["spec"]["containers"]
]


def nodes() -> list[NodeType]:
    """The groups as Ray's own autoscaler reads them."""
    custom = {"metadata": {"namespace": "fleet", "name": "fleet"}, "spec": CLUSTER}
    read = _derive_autoscaling_config_from_ray_cr(custom)["available_node_types"]
    return [
        NodeType(name, read[name]["resources"], read[name]["max_workers"], machines().gpu_of(machine(group)))
        for name, group in GROUPS.items()
    ]


def machine(group: dict[str, Any]) -> str:
    instance: str = group["template"]["spec"]["nodeSelector"]["node.kubernetes.io/instance-type"]
    return instance


def test_every_file_is_applied():
    assert {*KUSTOMIZATION["resources"], "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}


def test_the_serve_configuration_is_that_of_the_gpu_profile():
    """Copy deployments/serve/gpu.yaml under `serveConfigV2`, indented by four, where this fails."""
    configured = yaml.safe_load(RAY["serveConfigV2"])
    assert configured == yaml.safe_load((FOLDER.parent / "serve" / "gpu.yaml").read_text())
    ServeDeploySchema.model_validate(configured)


def test_ray_is_the_version_that_is_installed_and_guarded_by_a_token():
    assert CLUSTER["rayVersion"] == ray.__version__
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert CLUSTER["enableInTreeAutoscaling"] is True


def test_every_model_has_its_place_among_the_workers():
    found = nodes()
    assert misplaced(found, sum(node.most for node in found)) == []


def test_a_group_on_smaller_cards_would_be_noticed():
    small = [NodeType(node.name, node.resources, node.most, machines().gpus["a100-40gb"]) for node in nodes()]
    assert any(line.startswith("mixtral-8x7b: may be placed on a100") for line in misplaced(small, 6))


@pytest.mark.parametrize("name", GROUPS)
def test_a_worker_asks_kubernetes_for_what_it_tells_ray_it_has(name):
    group = GROUPS[name]
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    told = group["rayStartParams"]
    assert requests["nvidia.com/gpu"] == told["num-gpus"] == str(machines().instances[machine(group)].gpus)
    assert int(requests["cpu"]) >= int(told["num-cpus"])
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_has_no_more_rights_than_it_needs(pod, container):
    for security in (pod["securityContext"], {**pod["securityContext"], **container["securityContext"]}):
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_says_what_it_takes_and_no_more_memory_than_that(pod, container):
    resources = container["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert resources["limits"]["memory"] == resources["requests"]["memory"]


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_an_image_has_a_version(pod, container):
    ours = {each["name"]: each["newTag"] for each in KUSTOMIZATION["images"]}
    name, _, tag = container["image"].partition(":")
    assert re.search(r"\d+\.\d+\.\d+|\d+\.\d+", ours.get(name, tag))


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_what_is_mounted_is_there(pod, container):
    claims = [each["metadata"]["name"] for set_ in of("StatefulSet") for each in set_["spec"]["volumeClaimTemplates"]]
    there = {*(volume["name"] for volume in pod["volumes"]), *claims}
    assert {mount["name"] for mount in container["volumeMounts"]} <= there


@pytest.mark.parametrize("name", ["nats", "otel-collector", "postgres"])
def test_kubernetes_can_tell_whether_it_is_ready_and_whether_it_lives(name):
    """Ray's pods have the probes that KubeRay gives them."""
    [container] = PODS[name]["spec"]["containers"]
    assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_secrets_are_referred_to_and_never_written():
    assert not of("Secret")
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY|SEED", re.IGNORECASE)
    for template in PODS.values():
        for variable in template["spec"]["containers"][0].get("env", []):
            assert not secret.search(variable["name"]) or set(variable) == {"name", "valueFrom"}
    assert not secret.search(yaml.safe_dump(yaml.safe_load(RAY["serveConfigV2"])))


def generated() -> dict[str, str]:
    """What the command in nats.yaml writes."""
    command = " ".join(line.lstrip("# ").rstrip("\\ ") for line in (FOLDER / "nats.yaml").read_text().splitlines()[:8])
    options = dict(re.findall(r"--(store-dir|tls-dir) (\S+)", command))
    servers = servers_at(re.findall(r"--server (\S+)", command))
    tls = Tls.in_folder(Path(options["tls-dir"]))
    plan = ClusterLayout(
        servers, ["acme"], store_dir=options["store-dir"], tls=tls, includes_secrets="--secrets" in command
    )
    return dict(files_of(plan))


def test_the_generated_configuration_is_found_by_the_server_it_is_for():
    nats = named("StatefulSet", "nats")["spec"]
    [container] = nats["template"]["spec"]["containers"]
    first, count = nats["ordinals"]["start"], nats["replicas"]
    pods = [f"nats-{number}" for number in range(first, first + count)]
    assert count == 3
    assert set(generated()) == {*(f"{pod}.conf" for pod in pods), "accounts.conf"}
    assert container["args"] == ["-c", "/etc/nats/$(POD_NAME).conf"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for pod in pods:
        text = generated()[f"{pod}.conf"]
        assert f'store_dir: "{mounts["data"]}/{pod}"' in text
        assert f'cert_file: "{mounts["tls"]}/{pod}.pem"' in text
        assert {f"nats-route://{other}.{nats['serviceName']}:6222" for other in pods if other != pod} == set(
            re.findall(r"nats-route://[^\"]+", text)
        )
        monitored = re.search(r'http: "(127\.0\.0\.1:\d+)"', text)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert monitored is not None
            assert f"http://{monitored[1]}/healthz" in container[probe]["exec"]["command"][-1]


def test_the_passwords_lie_where_the_configuration_looks_for_them():
    [config] = [volume for volume in PODS["nats"]["spec"]["volumes"] if volume["name"] == "config"]
    sources = [next(iter(source.items())) for source in config["projected"]["sources"]]
    assert sources == [("configMap", {"name": "nats-config"}), ("secret", {"name": "nats-passwords"})]
    assert 'include "./secrets.env"' in generated()["accounts.conf"]


def test_one_machine_never_holds_two_of_the_three_nats_servers_and_one_is_drained_at_a_time():
    affinity = PODS["nats"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity == [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": PODS["nats"]["metadata"]["labels"]}}
    ]
    assert named("PodDisruptionBudget", "nats")["spec"]["maxUnavailable"] == 1


def selectors() -> Iterator[tuple[str, dict[str, str]]]:
    for service in of("Service"):
        yield f"Service {service['metadata']['name']}", service["spec"]["selector"]
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for each in of(kind):
            if each["spec"][field]:
                yield f"{kind} {each['metadata']['name']}", each["spec"][field]["matchLabels"]


@pytest.mark.parametrize(("name", "labels"), [pytest.param(*each, id=each[0]) for each in selectors()])
def test_a_selector_selects_something(name, labels):
    assert any(labels.items() <= template["metadata"]["labels"].items() for template in PODS.values())


def test_nothing_comes_in_or_goes_out_unless_a_policy_says_so():
    shut = named("NetworkPolicy", "nothing-else")["spec"]
    assert shut == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("service", ["nats", "otel-collector"])
def test_the_fleet_may_reach_each_service_from_both_sides_of_the_wall(service):
    labels = named("Service", service)["spec"]["selector"]
    [port] = [each["port"] for each in named("Service", service)["spec"]["ports"]]
    incoming = named("NetworkPolicy", service)["spec"]["ingress"]
    fleet = {"podSelector": {"matchLabels": PODS["ray head"]["metadata"]["labels"]}}
    assert any(fleet in rule["from"] and {"port": port} in rule["ports"] for rule in incoming)
    outgoing = named("NetworkPolicy", "ray")["spec"]["egress"]
    assert {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"port": port}]} in outgoing


@pytest.mark.parametrize("service", ["nats", "postgres"])
def test_the_writer_of_the_ledger_reaches_the_broker_and_its_database_and_nothing_else(service):
    ledger = PODS["ledger"]["metadata"]["labels"]
    labels = named("Service", service)["spec"]["selector"]
    [port] = [each["port"] for each in named("Service", service)["spec"]["ports"]]
    incoming = named("NetworkPolicy", service)["spec"]["ingress"]
    assert any({"podSelector": {"matchLabels": ledger}} in rule["from"] for rule in incoming)
    outgoing = named("NetworkPolicy", "ledger")["spec"]["egress"]
    assert {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"port": port}]} in outgoing
    assert len(outgoing) == 2


def test_one_process_writes_the_ledger_with_a_login_that_may():
    ledger = named("Deployment", "ledger")["spec"]
    assert (ledger["replicas"], ledger["strategy"]) == (1, {"type": "Recreate"})
    [container] = ledger["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "ledger"}}]
    parse(["fleet", *container["args"]])


def test_prometheus_may_reach_the_metrics_of_as_many_dispatchers_as_may_run():
    [container] = PODS["ray head"]["spec"]["containers"]
    declared = [each["containerPort"] for each in container["ports"] if each["name"].startswith("fleet-metrics-")]
    [dispatcher] = [
        each for each in yaml.safe_load(RAY["serveConfigV2"])["applications"] if each["name"] == "dispatcher"
    ]
    most = dispatcher["deployments"][0]["autoscaling_config"]["max_replicas"]
    first = Settings.model_fields["metrics_port"].default
    assert declared == list(range(first, first + most))
    rules = [rule.get("ports", ()) for rule in named("NetworkPolicy", "ray")["spec"]["ingress"]]
    [watched] = [ports for ports in rules if {"port": 8080} in ports]
    assert {"port": first, "endPort": first + most - 1} in watched
    assert {"name": "FLEET_METRICS_HOST", "value": "0.0.0.0"} in container["env"]


def test_prometheus_may_reach_the_metrics_of_the_ledgers_writer():
    [container] = PODS["ledger"]["spec"]["containers"]
    [port] = [each["containerPort"] for each in container["ports"] if each["name"].startswith("fleet-metrics-")]
    assert port == Settings.model_fields["metrics_port"].default
    assert {"name": "FLEET_METRICS_HOST", "value": "0.0.0.0"} in container["env"]
    [watched] = named("NetworkPolicy", "ledger")["spec"]["ingress"]
    assert watched["ports"] == [{"port": port}]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_puts_everything_in_one_namespace_and_names_our_image():
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(DOCUMENTS)
    assert {each["metadata"].get("namespace") for each in rendered if each["kind"] != "Namespace"} == {"fleet"}
    uses = [1 + len(GROUPS), 1]
    for image, count in zip(KUSTOMIZATION["images"], uses, strict=True):
        assert done.stdout.count(f"image: {image['newName']}:{image['newTag']}\n") == count
