"""The processes beside Ray on Kubernetes: NATS, the books, the gateways, and the walls between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from manifest_files import DOCUMENTS, FILES, FOLDER, IMAGES, PODS, RAY, files, named, of, policy
from manifests import LASTING, pods, rendered
from pages import ROOT, parse

from fleet.gateway import health
from fleet.settings.environment import Settings
from fleet.webhooks.addresses import is_public
from queues.server.config import ClusterLayout, Tls, files_of, servers_at


def test_every_file_is_applied():
    applied = {*FILES, *files(FOLDER / "aws"), *files(FOLDER / "monitoring"), *files(FOLDER / "client")}
    there = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert there - applied == {FOLDER / "common" / name for name in ("pods.yaml", "nightly.yaml")}


@pytest.mark.proves("Everything but Ray's pods has a readiness and a liveness probe on a port it declares", how="lint")
@pytest.mark.parametrize("name", [each["metadata"]["name"] for each in (*of("StatefulSet"), *of("Deployment"))])
def test_kubernetes_can_tell_whether_it_is_ready_and_whether_it_lives(name):
    """Ray's pods have the probes that KubeRay gives them."""
    for container in PODS[name]["spec"]["containers"]:
        ports = {each["name"] for each in container["ports"]}
        for probe in (container["readinessProbe"], container["livenessProbe"]):
            assert "exec" in probe or (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports


@pytest.mark.proves(
    "The gateway's probes keep requests from one that lost its broker, and do not restart it for that", how="lint"
)
def test_a_gateway_without_its_broker_takes_no_requests_and_is_not_started_again():
    [container] = PODS["gateway"]["spec"]["containers"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")]
    assert paths == ["/readyz", "/healthz"]
    assert set(paths) <= {route.path for route in health.router.routes}


@pytest.mark.proves("No manifest holds a secret; each comes from a Secret", how="lint")
def test_secrets_are_referred_to_and_never_written():
    assert not of("Secret")
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY|SEED", re.IGNORECASE)
    for template in PODS.values():
        for variable in template["spec"]["containers"][0].get("env", []):
            assert not secret.search(variable["name"]) or set(variable) == {"name", "valueFrom"}
    assert not secret.search(yaml.safe_dump(yaml.safe_load(RAY["serveConfigV2"])))


def generated() -> dict[str, str]:
    """What the command in nats.yaml writes."""
    command = " ".join(
        line.lstrip("# ").rstrip("\\ ") for line in (FOLDER / "broker" / "nats.yaml").read_text().splitlines()[:8]
    )
    options = dict(re.findall(r"--(store-dir|tls-dir) (\S+)", command))
    servers = servers_at(re.findall(r"--server (\S+)", command))
    tls = Tls.in_folder(Path(options["tls-dir"]))
    plan = ClusterLayout(
        servers, ["acme"], store_dir=options["store-dir"], tls=tls, includes_secrets="--secrets" in command
    )
    return dict(files_of(plan))


@pytest.mark.proves("The manifests mount the configuration, certificate and store that nats-config names", how="lint")
def test_the_generated_configuration_is_found_by_the_server_it_is_for():
    nats = named("StatefulSet", "nats")["spec"]
    container, exporter = nats["template"]["spec"]["containers"]
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
        assert monitored is not None
        assert exporter["args"][-1] == f"http://{monitored[1]}"


def test_the_passwords_lie_where_the_configuration_looks_for_them():
    [config] = [volume for volume in PODS["nats"]["spec"]["volumes"] if volume["name"] == "config"]
    sources = [next(iter(source.items())) for source in config["projected"]["sources"]]
    assert sources == [("configMap", {"name": "nats-config"}), ("secret", {"name": "nats-passwords"})]
    assert 'include "./secrets.env"' in generated()["accounts.conf"]


@pytest.mark.proves("The manifests put the NATS servers on three machines and let one be evicted at a time", how="lint")
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


@pytest.mark.proves("A network policy denies what no other one names, in both directions", how="lint")
def test_nothing_comes_in_or_goes_out_unless_a_policy_says_so():
    shut = policy("nothing-else")
    assert shut == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("service", ["nats", "otel-collector"])
def test_the_fleet_may_reach_each_service_from_both_sides_of_the_wall(service):
    labels = named("Service", service)["spec"]["selector"]
    [port] = [each["port"] for each in named("Service", service)["spec"]["ports"]]
    incoming = policy(service)["ingress"]
    head = PODS["ray head"]["metadata"]["labels"]
    assert any(
        {"port": port} in rule["ports"]
        and any(
            each["podSelector"]["matchLabels"].items() <= head.items() for each in rule["from"] if "podSelector" in each
        )
        for rule in incoming
    )
    outgoing = policy("ray")["egress"] + policy("ray-head")["egress"]
    assert {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"port": port}]} in outgoing


BESIDE = ("gateway", "batches", "webhooks", "content")


@pytest.mark.parametrize("name", BESIDE)
def test_a_process_beside_the_dispatchers_reaches_the_broker_and_nothing_else_of_the_fleet(name):
    assert any({"podSelector": {"matchLabels": {"app": name}}} in rule["from"] for rule in policy("nats")["ingress"])
    inside, *outside = policy(name)["egress"]
    assert inside == {"to": [{"podSelector": {"matchLabels": {"app": "nats"}}}], "ports": [{"port": 4222}]}
    assert bool(outside) == (name == "webhooks")


@pytest.mark.proves("Its network policy gives the sender of webhooks the internet and no private network", how="lint")
def test_webhooks_go_to_the_internet_and_to_no_network_inside():
    _, rule = policy("webhooks")["egress"]
    assert rule["ports"] == [{"port": 443}]
    blocks = [each["ipBlock"] for each in rule["to"]]
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "2000::/3"}
    assert not any(is_public(ip_network(each)[0]) for block in blocks for each in block["except"])


@pytest.mark.parametrize("name", BESIDE)
def test_a_process_beside_the_dispatchers_has_a_login_of_its_own(name):
    [container] = PODS[name]["spec"]["containers"]
    parse(["fleet", *container["args"]])
    first, *more = [each["secretRef"] for each in container["envFrom"]]
    assert first == {"name": name}
    assert [each["name"] for each in more] == (["webhook-key"] if name in ("gateway", "webhooks") else [])


def test_callers_reach_the_gateway_where_it_listens():
    [container] = PODS["gateway"]["spec"]["containers"]
    [port] = [each["containerPort"] for each in container["ports"] if each["name"] == "http"]
    assert port == Settings.model_fields["gateway_port"].default
    assert [each["port"] for each in named("Service", "gateway")["spec"]["ports"]] == [port]
    assert {"name": "FLEET_GATEWAY_HOST", "value": "0.0.0.0"} in container["env"]
    callers, _ = policy("gateway")["ingress"]
    assert callers["ports"] == [{"port": port}]
    assert callers["from"] == [each for each in policy("nats")["ingress"][0]["from"] if "namespaceSelector" in each]


def test_the_nightly_check_reads_what_the_writer_wrote_and_changes_nothing():
    check, writer = PODS["ledger-verify"], PODS["ledger"]
    [container] = check["spec"]["containers"]
    parse(["fleet", *container["args"]])
    labels = check["metadata"]["labels"]
    assert policy("readers")["podSelector"]["matchLabels"].items() <= labels.items()
    readers = {"podSelector": policy("readers")["podSelector"]}
    assert readers in policy("postgres")["ingress"][0]["from"]
    [archive] = [each for each in container["volumeMounts"] if each["name"] == "archive"]
    assert archive == {"name": "archive", "mountPath": "/var/lib/fleet-ledger", "readOnly": True}
    [near] = check["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["labelSelector"]["matchLabels"] == writer["metadata"]["labels"]
    assert [v for v in check["spec"]["volumes"] if v["name"] == "archive"] == [
        v for v in writer["spec"]["volumes"] if v["name"] == "archive"
    ]


@pytest.mark.proves(
    "Its network policy gives the ledger's writer the broker and its database and nothing else", how="lint"
)
@pytest.mark.parametrize("service", ["nats", "postgres"])
def test_the_writer_of_the_ledger_reaches_the_broker_and_its_database_and_nothing_else(service):
    ledger = PODS["ledger"]["metadata"]["labels"]
    labels = named("Service", service)["spec"]["selector"]
    [port] = [each["port"] for each in named("Service", service)["spec"]["ports"]]
    incoming = policy(service)["ingress"]
    assert any({"podSelector": {"matchLabels": ledger}} in rule["from"] for rule in incoming)
    outgoing = policy("ledger")["egress"]
    assert {"to": [{"podSelector": {"matchLabels": labels}}], "ports": [{"port": port}]} in outgoing
    assert len(outgoing) == 2


def test_one_process_writes_the_ledger_with_a_login_that_may():
    ledger = named("Deployment", "ledger")["spec"]
    assert (ledger["replicas"], ledger["strategy"]) == (1, {"type": "Recreate"})
    [container] = ledger["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "ledger"}}]
    parse(["fleet", *container["args"]])


@pytest.mark.parametrize("name", ["ledger", "ledger-verify"])
def test_the_key_that_signs_the_days_lies_where_its_variable_says_and_is_read_by_the_ledgers_pods_alone(name):
    pod = PODS[name]["spec"]
    [secret] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "signing"]
    assert (secret["secretName"], secret["optional"]) == ("ledger-signing", True)
    assert secret["defaultMode"] & 0o007 == 0, "`fleet ledger run` refuses a file that anybody may read"
    assert secret["defaultMode"] & 0o040
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "signing"]
    header, page = (FOLDER / "ledger.yaml").read_text(), (ROOT / "docs" / "how-to" / "receipts.md").read_text()
    for text in (header, page):
        assert f"FLEET_LEDGER_KEY_FILE={mount['mountPath']}/ledger.key" in text
    assert "kubectl -n fleet create secret generic ledger-signing --from-file=ledger.key" in page


def test_the_nightly_check_knows_the_log_by_the_name_and_the_key_of_the_writer_where_there_are_such():
    variables = {each["name"]: each.get("valueFrom") for each in PODS["ledger-verify"]["spec"]["containers"][0]["env"]}
    for name in ("FLEET_LEDGER_NAME", "FLEET_LEDGER_KEY_FILE"):
        assert variables[name] == {"secretKeyRef": {"name": "ledger", "key": name, "optional": True}}


@pytest.mark.proves(
    "A network policy lets Prometheus scrape as many dispatchers as may run in the head's pod", how="lint"
)
def test_prometheus_may_reach_the_metrics_of_as_many_dispatchers_as_may_run():
    [container] = PODS["ray head"]["spec"]["containers"]
    declared = [each["containerPort"] for each in container["ports"] if each["name"].startswith("fleet-metrics-")]
    [dispatcher] = [
        each for each in yaml.safe_load(RAY["serveConfigV2"])["applications"] if each["name"] == "dispatcher"
    ]
    most = dispatcher["deployments"][0]["autoscaling_config"]["max_replicas"]
    first = Settings.model_fields["metrics_port"].default
    assert declared == list(range(first, first + most))
    rules = [rule.get("ports", ()) for rule in policy("ray")["ingress"]]
    [watched] = [ports for ports in rules if {"port": 8080} in ports]
    assert {"port": first, "endPort": first + most - 1} in watched
    assert {"name": "FLEET_METRICS_HOST", "value": "0.0.0.0"} in container["env"]


@pytest.mark.parametrize("name", ["ledger", *BESIDE])
def test_prometheus_may_reach_the_metrics_of_a_process_of_its_own(name):
    [container] = PODS[name]["spec"]["containers"]
    [port] = [each["containerPort"] for each in container["ports"] if each["name"].startswith("fleet-metrics-")]
    assert port == Settings.model_fields["metrics_port"].default
    assert {"name": "FLEET_METRICS_HOST", "value": "0.0.0.0"} in container["env"]
    *_, watched = policy(name)["ingress"]
    assert watched["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert watched["ports"] == [{"port": port}]


@pytest.mark.proves("kustomize builds the manifests into one namespace with the fleet's own image", how="schema")
def test_kustomize_puts_everything_in_one_namespace_and_names_our_image():
    objects = rendered(*LASTING, "tasks")
    assert len(objects) == len(DOCUMENTS)
    cluster_wide = ("Namespace", "PriorityClass")
    assert {each["metadata"].get("namespace") for each in objects if each["kind"] not in cluster_wide} == {"fleet"}
    used = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert {f"{image['newName']}:{image['newTag']}" for image in IMAGES} <= used
    assert not {image["name"] for image in IMAGES} & {image.partition(":")[0] for image in used}


def test_what_is_watched_by_prometheus_operator_has_the_ports_that_are_asked():
    monitors = [each for path in files(FOLDER / "monitoring") for each in yaml.safe_load_all(path.read_text())]
    for monitor in monitors:
        selector = monitor["spec"]["selector"]
        values = (
            selector.get("matchLabels", {}).get("app"),
            *(value for each in selector.get("matchExpressions", ()) for value in each["values"]),
        )
        watched = [pod["spec"] for pod in PODS.values() if pod["metadata"]["labels"].get("app") in values]
        declared = {port["name"] for pod in watched for each in pod["containers"] for port in each.get("ports", ())}
        assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= declared
