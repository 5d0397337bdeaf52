from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.core.generated.autoscaler_pb2 import GangResourceRequest, ResourceRequest

import deployments
from deployments.app import build_model
from deployments.clusterfile import DRAIN, VCPUS, main, problems, refused_by_ray, warnings
from deployments.placement import CARD_80GB, CPU_NODE, bundles, machines
from deployments.profiles import Profile, model, models

FILE = Path(deployments.__file__).parents[1] / "cluster.yaml"


SHIPPED = yaml.safe_load(FILE.read_text())

NODES = "available_node_types"


def changed(config, path, value):
    """The same file with one value set, or taken out where it is None."""
    config = copy.deepcopy(config)
    *parents, last = path.split("/")
    place = config
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


def ray_would_launch(config, *gangs):
    """The node types that Ray's autoscaler asks for, where nothing runs and these placement groups wait."""
    types = AutoscalingConfig(prepare_config(copy.deepcopy(config)), skip_content_hash=True).get_node_type_configs()
    request = SchedulingRequest(
        node_type_configs=types,
        disable_launch_config_check=True,
        max_num_nodes=config["max_workers"] + 1,
        gang_resource_requests=[
            GangResourceRequest(requests=[ResourceRequest(resources_bundle=each) for each in gang]) for gang in gangs
        ],
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    assert not reply.infeasible_gang_resource_requests
    return {launch.instance_type: launch.count for launch in reply.to_launch if launch.instance_type != "head"}


@pytest.mark.proves("Ray's launcher accepts cluster.yaml", how="schema")
def test_ray_accepts_the_form_of_the_file(config):
    assert refused_by_ray(config) is None


def test_nothing_is_wrong_with_the_file_once_it_is_filled_in(config):
    assert problems(config) == warnings(config) == []


@pytest.mark.proves("A cluster file for AWS with subnets or security groups left to chance is refused", how="lint")
def test_the_file_as_it_is_shipped_lacks_what_only_its_owner_knows():
    assert problems(SHIPPED) == [
        f"available_node_types.{name}.node_config.{field}: {placeholder} must be an id of yours, as {example}"
        for name in SHIPPED["available_node_types"]
        for field, placeholder, example in (
            ("SubnetIds", "subnet-yours-in-1a", "subnet-0123456789abcdef0"),
            ("SecurityGroupIds", "sg-yours", "sg-0123456789abcdef0"),
        )
    ]
    assert len(SHIPPED["available_node_types"]["head"]["node_config"]["SubnetIds"]) == len(
        SHIPPED["provider"]["availability_zone"].split(",")
    )


@pytest.mark.proves("An image on AWS that may be another one tomorrow is warned of", how="lint")
def test_an_image_that_is_not_pinned_is_warned_of(config):
    image = SHIPPED["available_node_types"]["head"]["node_config"]["ImageId"]
    [line] = warnings(changed(config, f"{NODES}/head/node_config/ImageId", image))
    assert line.startswith(f"available_node_types.head.node_config.ImageId: '{image}' is another image tomorrow; ")


@pytest.mark.proves("The set-up commands for an engine on AWS install a C++ compiler and Python's headers", how="lint")
def test_the_set_up_installs_what_triton_compiles_with():
    [install] = [command for command in SHIPPED["setup_commands"] if "apt-get" in command]
    assert {"python3-dev", "g++", "python3-venv"} <= set(install.split())


@pytest.mark.proves("The file check wants a Ray node that drains on SIGTERM to have the time of a call", how="lint")
@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("ray start --address=head", False),
        ("ray start --address=head --block", True),
        ("ray start --address=head # --block", False),
        (f"{DRAIN}=30 ray start --block", True),
        (f"{DRAIN}=130 ray start --block", False),
        (f"{DRAIN}=130.5 ray start --block", False),
        (f"{DRAIN}=140 {DRAIN}=1 ray start --block", True),
        (f"export {DRAIN}=1; {DRAIN}=140 ray start --block", False),
        (f"export {DRAIN}=140; export {DRAIN}=1; ray start --block", True),
        (f"export {DRAIN}=140; {DRAIN}=1; ray start --block", True),
        (f"export {DRAIN}=140 && unset {DRAIN} && ray start --block", True),
        (f"{DRAIN}=140; ray start --block", True),
        (f"ray start --block; export {DRAIN}=130", True),
        (f"{DRAIN}={'9' * 5000} ray start --block", True),
    ],
)
def test_ray_that_drains_its_node_itself_needs_the_time_of_a_call(config, command, refused):
    field = "worker_start_ray_commands"
    found = problems(changed(config, field, [f"export RAY_AUTH_MODE=token; {command}"]))
    assert found == [f"{field}: --block needs {DRAIN} of 130 or more: a call may take as long"] * refused


def test_ray_reads_the_setting_by_which_a_node_drains():
    from ray._private import ray_constants

    assert hasattr(ray_constants, DRAIN)


@pytest.mark.proves("A Ray that starts without a login is refused before anything is bought", how="lint")
@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("RAY_AUTH_MODE=token /opt/bin/ray   start --head", False),
        ("RAY_AUTH_MODE='token' nohup ray start --head >log 2>&1 &", False),
        ("export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token &&\nray start --head", False),
        ("ray start --head", True),
        ("ray start --head # RAY_AUTH_MODE=token", True),
        ("# export RAY_AUTH_MODE=token\nray start --head", True),
        ("RAY_AUTH_MODE=tokenless ray start --head", True),
        ("RAY_AUTH_MODE=token ray stop; ray start --head", True),
        ("RAY_AUTH_MODE=token; ray start --head", True),
        ("echo export RAY_AUTH_MODE=token; ray start --head", True),
        ("export RAY_AUTH_MODE=token | cat; ray start --head", True),
        ("export RAY_AUTH_MODE=token & ray start --head", True),
        ("true || export RAY_AUTH_MODE=token; ray start --head", True),
        ("export RAY_AUTH_MODE=token || exit 1; ray start --head | tee log", False),
        ("export RAY_AUTH_MODE=token; false || unset RAY_AUTH_MODE; ray start --head", True),
        ("export RAY_AUTH_MODE=token; false || RAY_AUTH_MODE=none; ray start --head", True),
        ("export RAY_AUTH_MODE=token; sudo ray start --head", True),
        ("export RAY_AUTH_MODE=token; ray start --head; RAY_AUTH_MODE=none ray start --head", True),
        ("RAY_AUTH_MODE=token bash -c 'RAY_AUTH_MODE= ray start --head'", True),
    ],
)
def test_ray_must_start_with_a_login(config, command, refused):
    field = "head_start_ray_commands"
    rule = f"{field}: must set RAY_AUTH_MODE=token: whoever reaches Ray without a login runs code on it"
    assert problems(changed(config, field, ["ray stop", command])) == [rule] * refused


@pytest.mark.parametrize(
    ("commands", "rule"),
    [
        ([], "nothing starts Ray; one command must be `ray start`"),
        (["ray stop"], "nothing starts Ray; one command must be `ray start`"),
        (["# ray start --head"], "nothing starts Ray; one command must be `ray start`"),
        (["ray start --head '"], "the shell cannot read a command: No closing quotation"),
    ],
)
def test_one_command_must_start_ray(config, commands, rule):
    field = "head_start_ray_commands"
    assert problems(changed(config, field, commands)) == [f"{field}: {rule}"]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("max_workers", "six", "max_workers: 'six' is not of type 'integer'"),
        ("surprise", 1, ".*'surprise' was unexpected"),
        ("available_node_types/a10g/resources/GPU", 0.5, r".*a10g\.resources\.GPU: 0\.5 is not of type 'integer'"),
        ("available_node_types/a10g/prio", 1, ".*'prio' was unexpected"),
        ("cluster_name", None, "'cluster_name' is a required property"),
    ],
)
def test_ray_refuses_a_wrong_form_by_the_name_of_the_field(config, path, value, line):
    assert re.match(line, refused_by_ray(changed(config, path, value)) or "accepted")


@pytest.mark.proves("A wrong machine, resource or zone in cluster.yaml is named before anything is bought", how="lint")
@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (
            f"{NODES}/a10g/node_config/InstanceType",
            "g5.huge",
            r"a10g: unknown machine 'g5\.huge'; known are m7i\.large, ",
        ),
        (f"{NODES}/a10g/node_config/InstanceType", None, "a10g: unknown machine None; known are "),
        (f"{NODES}/head/node_config/InstanceType", "g5.2xlarge", "head: the head must have no card"),
        (f"{NODES}/head/max_workers", 1, r"head\.max_workers: must be 0"),
        (f"{NODES}/a10g/resources/CPU", 5, r"a10g\.resources\.CPU: 5 is more than the 4 of g5\.xlarge"),
        (f"{NODES}/a10g/resources/GPU", 2, r"a10g\.resources\.GPU: 2 is more than the 1 of g5\.xlarge"),
        (f"{NODES}/a10g/resources/card_80gb", 1, r"a10g\.resources\.card_80gb: 1 is more than the 0 of g5\.xlarge"),
        (f"{NODES}/a100/resources/cpu_node", 1, r"a100\.resources\.cpu_node: 1 is more than the 0 of p4de\.24xlarge"),
        (f"{NODES}/head/resources/cpu_node", None, r"head\.resources\.cpu_node: must be 1: dispatchers run only where"),
        (f"{NODES}/a10g/node_config/SubnetIds", None, r"a10g\.node_config\.SubnetIds: must name your own, subnet-…"),
        (
            f"{NODES}/a10g/node_config/SecurityGroupIds",
            [],
            r"a10g\.node_config\.SecurityGroupIds: must name your own, sg-",
        ),
        (f"{NODES}/a10g/node_config/SubnetIds", ["vpc-0a1b2c3d"], r"a10g\..*SubnetIds: vpc-0a1b2c3d must be an id of"),
        (f"{NODES}/a100/min_workers", 3, r"a100\.min_workers: 3 is more than max_workers, 2"),
        (
            "provider/module",
            "elsewhere.Provider",
            "a10g: spot, and nothing falls back to on demand; provider.module must",
        ),
        ("provider/availability_zone", "us-east-1a", r"provider\.availability_zone: must name two zones at least"),
        (
            "provider/availability_zone",
            "us-east-1a, us-east-1a",
            r"provider\.availability_zone: must name two zones at",
        ),
        ("provider/availability_zone", "us-east-1a,us-west-2b", r".*: us-west-2b is not in the region us-east-1"),
        ("provider/availability_zone", "us-east-1a,us-east-1é", r".*: us-east-1é is not in the region us-east-1"),
        ("provider/availability_zone", "us-east-1a,us-east-19", r".*: us-east-19 is not in the region us-east-1"),
        (
            "worker_start_ray_commands",
            ["ray start --address=$RAY_HEAD_IP:6379"],
            "worker_start_ray_commands: must set RAY_A",
        ),
        ("max_workers", 1, "llama-8b: room for 0 of its 4 replicas; allow more nodes"),
        (f"{NODES}/a10g/resources/CPU", 2, "a10g: no model fits there"),
        (f"{NODES}/a100/max_workers", 1, "mixtral-8x7b: room for 0 of its 2 replicas"),
        (f"{NODES}/a100/resources/CPU", 8, r"llama-70b: no node has room for a replica \(4 GPU, 9 CPU, 4 card_80gb\)"),
    ],
)
def test_each_mistake_is_named_in_a_line(config, path, value, line):
    found = problems(changed(config, path, value))
    assert any(re.match(rf"(available_node_types\.)?{line}", each) for each in found), found


def test_cards_of_40_gb_cannot_pass_for_larger_ones(config):
    found = problems(changed(config, "available_node_types/a100/node_config/InstanceType", "p4d.24xlarge"))
    assert "available_node_types.a100.resources.card_80gb: 8 is more than the 0 of p4d.24xlarge" in found
    assert [each.partition(";")[0] for each in found if "may be placed" in each] == [
        "mixtral-8x7b: may be placed on a100, whose cards have 35.5 GiB to use where it needs 46.7",
        "llama-70b: may be placed on a100, whose cards have 35.5 GiB to use where it needs 35.7",
    ]


@pytest.mark.proves("The file check counts a replica's cards and CPUs as Serve reserves them", how="real")
@pytest.mark.proves("A model that may settle on a dearer machine than it needs is reported", how="lint")
def test_a_small_model_that_may_hold_a_large_machine_is_reported(config):
    found = problems(changed(config, "available_node_types/a100/resources/card_24gb", 8))
    assert found == [
        "llama-8b: may settle on a100 at $27.45 an hour, though a10g has room at $1.01; "
        "ask in profiles.yaml for a resource of a10g alone"
    ]


@pytest.mark.proves(
    "Llama 8B settles on no machine with cards of 80 GB while one of 24 GB may be had", how="fake nodes"
)
def test_ray_would_launch_no_large_machine_for_the_small_model_however_many_replicas_wait(config):
    small = bundles(model(Profile.GPU, "llama-8b"))
    assert ray_would_launch(config, *[small] * 4) == {"a10g": 4}
    without_small = changed(config, "available_node_types/a10g/max_workers", 0)
    with pytest.raises(AssertionError):
        ray_would_launch(without_small, small)


def test_a_machine_without_cards_may_join_for_dispatchers(config):
    more = {"resources": {"CPU": 2, CPU_NODE: 1}, "min_workers": 1, "max_workers": 1}
    more["node_config"] = config["available_node_types"]["head"]["node_config"] | {"InstanceType": "m7i.large"}
    assert problems(changed(config, "available_node_types/cpu", more)) == []


@pytest.mark.parametrize("target", models(Profile.GPU))
def test_a_replica_is_counted_as_serve_reserves_it(target, outside_ray):
    reserved = build_model({"target": target, "profile": "gpu"})._bound_deployment._replica_config
    assert bundles(model(Profile.GPU, target)) == reserved.placement_group_bundles


@pytest.mark.proves(
    "Ray's autoscaler buys the machine that fits each model, and fills it before it buys another", how="fake nodes"
)
def test_ray_asks_for_the_machine_each_model_fits_and_fills_it(config):
    gangs = {target: bundles(described) for target, described in models(Profile.GPU).items()}
    assert ray_would_launch(config, gangs["llama-8b"]) == {"a10g": 1}
    assert ray_would_launch(config, gangs["mixtral-8x7b"]) == {"a100": 1}
    assert ray_would_launch(config, gangs["llama-70b"], gangs["mixtral-8x7b"], gangs["mixtral-8x7b"]) == {"a100": 1}
    most = [gangs[target] for target, described in models(Profile.GPU).items() for _ in range(described.replicas[1])]
    asked = ray_would_launch(config, *most)
    assert asked["a100"] == 2
    assert sum(asked.values()) <= config["max_workers"]


@pytest.mark.proves(
    "The resource card_80gb keeps Mixtral off small cards; without it Ray would spread it over them", how="fake nodes"
)
def test_without_the_resource_for_large_cards_ray_would_spread_mixtral_over_small_ones(config):
    unpinned = [
        {name: number for name, number in each.items() if name != CARD_80GB}
        for each in bundles(model(Profile.GPU, "mixtral-8x7b"))
    ]
    assert ray_would_launch(config, unpinned) == {"a10g": 2}


def test_every_machine_with_a_price_may_be_named():
    assert set(machines().instances) <= set(VCPUS)


def test_the_command_prints_what_it_found_and_says_so_in_its_exit_status(config, tmp_path, capsys):
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: nothing wrong that can be known without asking AWS\n"
    path.write_text(yaml.safe_dump(changed(config, f"{NODES}/head/node_config/ImageId", "latest")))
    assert main([str(path)]) == 0
    warning, nothing = capsys.readouterr().out.splitlines()
    assert warning.startswith(f"{path}: warning: available_node_types.head.node_config.ImageId: 'latest' is another")
    assert nothing.endswith("without asking AWS")
    assert main([str(FILE)]) == 1
    out = capsys.readouterr().out
    assert "subnet-yours-in-1a" in out
    assert out.count(": warning: ") == len(SHIPPED[NODES])
    path.write_text(yaml.safe_dump(changed(config, "available_node_types/a10g/resources/CPU", 5)))
    assert main([str(path)]) == 1
    assert (
        capsys.readouterr().out
        == f"{path}: available_node_types.a10g.resources.CPU: 5 is more than the 4 of g5.xlarge\n"
    )
    path.write_text(yaml.safe_dump(changed(config, "max_workers", -1)))
    assert main([str(path)]) == 1
    assert capsys.readouterr().out == f"{path}: max_workers: -1 is less than the minimum of 0\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file or directory"),
        ("cluster_name: [fleet", "is not YAML: while parsing a flow sequence .*"),
        ("- fleet", "must hold the fields of a cluster, as cluster.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, capsys, content, line):
    path = tmp_path / "nope.yaml"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    assert re.fullmatch(rf"{re.escape(str(path))}: {line}\n", capsys.readouterr().out)


@pytest.mark.proves("cluster.yaml holds no secret", how="lint")
def test_no_secret_is_in_the_file():
    assert not re.search(
        r"(?i)(password|token|secret|_key)\s*[=:](?!\+)\s*['\"]?[A-Za-z0-9+/_-]{16,}", FILE.read_text()
    )
