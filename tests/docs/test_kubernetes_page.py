"""docs/how-to/kubernetes.md says of the manifests what is so: who gets which secret, and what each step applies."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests import LASTING, Object, Pod, named, of, pods, rendered, secrets_of
from pages import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
TEXT = PAGE.read_text()


def chapter(name: str) -> str:
    return TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def shell(name: str) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", chapter(name), re.S | re.M))


GIVEN = {
    secret: (set(re.findall(r"`([^`]+)`", keys)), set(re.findall(r"`([^`]+)`", to)))
    for secret, keys, to in re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \|$", chapter("Secrets"), re.M)
}
OURS = rendered(*LASTING, "tasks")
RUNNING: dict[str, Pod] = {pod.name: pod for pod in pods(OURS)}


@pytest.mark.proves(
    "Each process on Kubernetes gets the secrets of its own and no others", how="lint", subject="Kubernetes"
)
def test_each_process_gets_the_secrets_that_the_page_says_and_no_others() -> None:
    found: dict[str, set[str]] = {}
    for name, pod in RUNNING.items():
        for secret in secrets_of(pod):
            found.setdefault(secret, set()).add(name)
    assert found == {secret: to for secret, (_, to) in GIVEN.items()}


def test_a_key_that_a_process_names_is_in_its_secret() -> None:
    for pod in RUNNING.values():
        for container in pod.containers:
            for variable in container.get("env", ()):
                if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                    known = {each.partition("=")[0] for each in GIVEN[key["name"]][0]}
                    assert key["key"] in known or key.get("optional"), (pod.name, key)


@pytest.mark.proves(
    "Workers with GPUs hold no login, no provider's key and no token of the hub", how="lint", subject="Kubernetes"
)
def test_workers_hold_no_secret() -> None:
    workers = [pod for pod in RUNNING.values() if pod.kind == "RayWorker"]
    assert len(workers) == 2
    assert [secrets_of(pod) for pod in workers] == [set(), set()]


def config_maps(pod: Pod) -> set[str]:
    volumes = pod.spec.get("volumes") or ()
    sources = [*volumes, *(each for volume in volumes for each in volume.get("projected", {}).get("sources", ()))]
    return {each["configMap"]["name"] for each in sources if "configMap" in each}


def test_the_install_makes_every_secret_and_configuration_that_is_asked_for() -> None:
    script = shell("Install")
    [names] = re.findall(r"^for name in (.+); do$", script, re.M)
    made = {*names.split(), *re.findall(r"create secret generic ([\w-]+)", script)}
    optional = {"ledger-signing", "content"}
    assert {name for pod in RUNNING.values() for name in secrets_of(pod)} - optional == made
    shipped = {each["metadata"]["name"] for each in of(OURS, "ConfigMap")}
    written = set(re.findall(r"create configmap ([\w-]+)", script))
    asked = {name for pod in RUNNING.values() for name in config_maps(pod)}
    assert asked == {*shipped, *written, "kube-root-ca.crt"}  # the last one is in every namespace


def matches(selector: str, document: Object) -> bool:
    labels = document["metadata"].get("labels", {})
    if selector.startswith("!"):
        return selector[1:] not in labels
    name, _, value = selector.partition("=")
    return bool(labels.get(name) == value)


def steps(name: str) -> list[list[str]]:
    """The objects that each command of the chapter applies, in order."""
    overlay = rendered(".", "tasks")
    selectors = re.findall(r"manifests \| kubectl apply -f - -l '?([^\s']+)'?", shell(name))
    return [
        [f"{each['kind']} {each['metadata']['name']}" for each in overlay if matches(one, each)] for one in selectors
    ]


@pytest.mark.proves(
    "The install applies every object, the broker and its streams before what needs them",
    how="lint",
    subject="Kubernetes",
)
def test_the_install_applies_everything_in_an_order_in_which_it_works() -> None:
    broker, streams, weights, rest, operator = steps("Install")
    assert "StatefulSet nats" in broker and "Namespace fleet" in broker and "NetworkPolicy nothing-else" in broker
    assert streams == ["Job topology"]
    assert sorted(weights) == ["Job weights", "PersistentVolumeClaim weights"]
    assert "RayService fleet" in rest and "Deployment dispatcher" in rest
    assert operator == ["Job operator"]
    applied = {*broker, *streams, *weights, *rest, *operator}
    assert applied == {f"{each['kind']} {each['metadata']['name']}" for each in rendered(".", "tasks")}


def test_an_upgrade_brings_the_streams_and_weights_of_the_new_version_before_its_code() -> None:
    broker, streams, weights, rest, again = steps("Upgrade")
    assert "StatefulSet nats" in broker
    assert (streams, "Job weights" in weights) == (["Job topology"], True)
    assert rest == again
    assert "RayService fleet" in rest


def test_the_conditions_that_are_waited_for_are_conditions_that_kuberay_sets() -> None:
    """As in ray-operator/apis/ray/v1/rayservice_types.go of KubeRay 1.7."""
    waited = set(re.findall(r"--for=condition=(\w+)(?:=false)? rayservice/fleet", TEXT))
    assert waited == {"Ready", "UpgradeInProgress", "Suspended"}


def test_the_operator_is_where_the_network_policies_look_for_it() -> None:
    [namespace] = re.findall(r"helm install kuberay-operator .*--namespace ([\w-]+)", shell("Install"))
    rules = named(OURS, "NetworkPolicy", "ray")["spec"]["ingress"]
    label = {"kubernetes.io/metadata.name": namespace}
    assert any({"namespaceSelector": {"matchLabels": label}} in rule["from"] for rule in rules)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.proves(
    "The certificates of the guide hold every name by which a NATS server is called", how="real", subject="Kubernetes"
)
def test_a_certificate_holds_every_name_by_which_its_server_is_called(tmp_path: Path) -> None:
    subprocess.run(["bash", "-euc", shell("Certificates")], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == sorted(
        ["ca.pem", *(f"nats-{n}{end}" for n in (1, 2, 3) for end in (".pem", "-key.pem"))]
    )
    for number in (1, 2, 3):
        done = subprocess.run(
            ["openssl", "x509", "-in", f"nats-{number}.pem", "-noout", "-ext", "subjectAltName"],
            cwd=tmp_path / "tls",
            check=True,
            capture_output=True,
            text=True,
        )
        domains = ("", ".fleet", ".fleet.svc", ".fleet.svc.cluster.local")
        wanted = {f"{name}{domain}" for name in ("nats", f"nats-{number}.nats-servers") for domain in domains}
        assert set(re.findall(r"DNS:([^,\s]+)", done.stdout)) == wanted
        verify = ["openssl", "verify", "-CAfile", "ca.pem", f"nats-{number}.pem"]
        subprocess.run(verify, cwd=tmp_path / "tls", check=True, capture_output=True)


def test_every_block_of_yaml_of_the_page_is_yaml() -> None:
    assert all(yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml")
