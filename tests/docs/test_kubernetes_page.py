"""The pages on Kubernetes say of the manifests what is so: who gets which secret, and what each step applies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from manifest_lints import LINTS
from manifests import LASTING, Object, Pod, named, of, pods, rendered, secrets_of
from pages import ROOT, blocks

from deployments.serve.api import Bounds, Mode, Scaling
from fleet.cli.ops import scale
from fleet.cli.output import Output
from fleet.settings.documents import load_catalogue

PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
UPGRADE = ROOT / "docs" / "how-to" / "kubernetes-upgrade.md"
TEXT = PAGE.read_text() + UPGRADE.read_text()


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
    "The manifests give each process the secrets of its own and no others", how="lint", subject="Kubernetes"
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
    "The manifests give workers with GPUs no login, no provider's key and no token of the hub",
    how="lint",
    subject="Kubernetes",
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
    return all(_meets(each, document["metadata"].get("labels", {})) for each in selector.split(","))


def _meets(requirement: str, labels: dict[str, str]) -> bool:
    if requirement.startswith("!"):
        return requirement[1:] not in labels
    name, _, value = requirement.partition("=")
    if name.endswith("!"):
        return labels.get(name[:-1]) != value
    return labels.get(name) == value


def steps(name: str) -> list[list[str]]:
    """The objects that each command of the chapter applies, in order; `operator` is a function of shell.sh."""
    overlay = rendered(".", "tasks")
    lines = re.sub(r"^operator\b", "apply app=operator", shell(name), flags=re.M)
    selectors = re.findall(r"^apply '?([^\s']+)'?", lines, re.M)
    return [
        [f"{each['kind']} {each['metadata']['name']}" for each in overlay if matches(one, each)] for one in selectors
    ]


@pytest.mark.proves(
    "The install applies every object, the broker and its streams before what needs them",
    how="lint",
    subject="Kubernetes",
)
def test_the_install_applies_everything_in_an_order_in_which_it_works() -> None:
    broker, streams, operator, weights, rest = steps("Install")
    assert "StatefulSet nats" in broker and "Namespace fleet" in broker and "NetworkPolicy nothing-else" in broker
    assert streams == ["Job topology"]
    assert sorted(weights) == ["Job weights", "PersistentVolumeClaim weights"]
    assert "RayService fleet" in rest and "Deployment dispatcher" in rest
    assert operator == ["Job operator"]
    applied = {*broker, *streams, *weights, *rest, *operator}
    assert applied == {f"{each['kind']} {each['metadata']['name']}" for each in rendered(".", "tasks")}


def test_an_upgrade_brings_the_streams_and_weights_of_the_new_version_before_its_code() -> None:
    broker, streams, weights, operator, spare, resumed, rest = steps("Upgrade")
    assert "StatefulSet nats" in broker
    assert (streams, "Job weights" in weights, operator) == (["Job topology"], True, ["Job operator"])
    assert spare == rest
    assert "RayService fleet" in resumed
    assert set(rest) - set(resumed) == {"Deployment dispatcher"}


def test_models_are_drained_largest_first_and_each_is_waited_for() -> None:
    [named_models] = re.findall(r"^for model in (.+); do", shell("Upgrade"), re.M)
    [counted] = re.findall(r" = (\d+) \]; do sleep", shell("Upgrade"))
    own = [target for target in load_catalogue(None, "gpu").targets.values() if not target.is_cloud]
    largest_first = sorted(own, key=lambda target: -target.output_usd_per_million_tokens)
    assert named_models.split() == [target.name for target in largest_first]
    assert int(counted) == len(own)


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


@pytest.mark.parametrize(
    ("status", "running", "is_done"), [("running", 0, True), ("deploying", 0, False), ("running", 10, False)]
)
def test_a_drain_counts_as_done_when_the_table_of_fleet_scale_says_so(
    status: str, running: int, is_done: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    [pattern] = re.findall(r"grep -cE '(.+?)'", shell("Upgrade"))
    rows = [("mixtral-8x7b", Scaling("mixtral-8x7b", status, Mode.DRAINED, running, 0, Bounds(0, 2), None))]
    Output(False).show(scale._table(rows))
    assert bool(re.search(pattern, capsys.readouterr().out)) is is_done


def test_every_field_that_the_overlay_changes_elsewhere_is_a_field_of_the_manifest() -> None:
    [text] = [block.text for block in blocks(PAGE) if block.language == "yaml" and "kind: RayService" in block.text]
    [patch] = yaml.safe_load(text)["patches"]
    for change in yaml.safe_load(patch["patch"]):
        found = named(OURS, **patch["target"])
        for step in change["path"].strip("/").split("/"):
            found = found[int(step) if step.isdigit() else step]
        assert set(found) == {"kubernetes.io/arch", "node.kubernetes.io/instance-type"}


def test_the_digests_of_all_images_are_looked_up_by_the_tags_of_the_manifests() -> None:
    listed = set(
        re.findall(
            r"[\w./$-]+:[\w.$-]+", re.findall(r"for image in (.*?); do", shell("Build and name the images"), re.S)[0]
        )
    )
    used = {container["image"] for pod in pods(rendered(".", "tasks")) for container in pod.containers}
    ours = re.compile(r"registry\.example/(fleet-\w+):.+")
    assert listed == {ours.sub(r"$registry/\1:$version", image) for image in used}


KUBECTL = """#!/bin/sh
case "$3" in get) echo "$ANSWER" ;; logs) echo "what the Job said" ;; esac
"""


def run_shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script after shell.sh, with a kubectl that answers `get` with $ANSWER."""
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    variables = {"PATH": f"{folder}:/usr/bin:/bin", **environment}
    code = shell("A shell to operate from") + "sleep() { :; }\n" + script
    return subprocess.run(["bash", "-uc", code], cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("conditions", "status", "says"),
    [
        ("SuccessCriteriaMet Complete", 0, "weights: complete\n"),
        ("FailureTarget Failed", 1, "weights: failed\nwhat the Job said\n"),
        ("FailureTarget", 1, "what the Job said\n"),
        ("", 1, "what the Job said\n"),
    ],
)
@pytest.mark.proves(
    "The guide waits for a Job that failed no longer than for one that is complete, and shows its log",
    how="stand-in",
    subject="Kubernetes",
)
def test_a_job_is_waited_for_until_it_is_complete_or_has_failed(
    tmp_path: Path, conditions: str, status: int, says: str
) -> None:
    done = run_shell("finished weights 20", tmp_path, ANSWER=conditions)
    assert (done.returncode, done.stdout) == (status, says)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_files_of_the_secrets_hold_every_key_that_the_table_names(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    keys = {"HF_TOKEN": "hf_x", "OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y"}
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **keys}
    subprocess.run(["bash", "-euc", shell("Secrets")], cwd=tmp_path, env=variables, check=True, capture_output=True)
    for name in re.findall(r"^for name in (.+); do$", shell("Install"), re.M)[0].split():
        path = tmp_path / "secrets" / f"{name}.env"
        written = dict(line.split("=", 1) for line in path.read_text().splitlines())
        asked = dict(each.partition("=")[::2] for each in GIVEN[name][0] if each.isupper() or "=" in each)
        assert {key: written[key] if value else "" for key, value in asked.items()} == asked
        assert set(written) == set(asked) and all(written.values())
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.__name__)
def test_the_example_of_a_tenants_service_has_no_fault_that_is_known(lint: Callable[[list[Object]], list[str]]) -> None:
    assert lint(rendered(".", "client")) == []


@pytest.mark.proves(
    "The network policies name each other: the tenant's pod out to the broker, and the broker in from it",
    how="lint",
    subject="Kubernetes",
)
def test_a_tenants_service_is_let_in_and_out_and_finds_its_secret() -> None:
    example = rendered("client")
    [client] = pods(example)
    rule = named(example, "NetworkPolicy", "fleet-client")["spec"]
    to = {"podSelector": {"matchLabels": {"app": "nats"}}}
    assert any(to.items() <= each["to"][0].items() for each in rule["egress"])
    assert {each["metadata"]["namespace"] for each in example if each["kind"] != "Namespace"} == {"acme"}
    [door, *_] = named(OURS, "NetworkPolicy", "nats")["spec"]["ingress"]
    label = rule["podSelector"]
    assert {"namespaceSelector": {}, "podSelector": label} in door["from"]
    assert label["matchLabels"].items() <= client.labels.items()
    script = shell("A tenant's service")
    assert set(re.findall(r"create secret generic ([\w-]+)", script)) == secrets_of(client)
    assert set(re.findall(r"create configmap ([\w-]+)", script)) == config_maps(client)
