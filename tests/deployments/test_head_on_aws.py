"""What a head on AWS needs to come back as the one it was: an address that stays, and the tables of the one before."""

from __future__ import annotations

import copy
import importlib
import os
import re
import subprocess

import pytest
import yaml
from pages import ROOT, blocks
from played_boto3 import played_boto3

from deployments.clusterfile import problems, refused_by_ray

SHIPPED = yaml.safe_load((ROOT / "cluster.yaml").read_text())

NODES = "available_node_types"

FIXED = {"DeviceIndex": 0, "SubnetId": "subnet-0a1b2c3d", "Groups": ["sg-0a1b2c3d"], "PrivateIpAddress": "10.0.1.10"}


def with_interfaces(config, *interfaces, node="head"):
    """The same file with a node type's network said interface by interface."""
    config = copy.deepcopy(config)
    described = config[NODES][node]["node_config"]
    del described["SubnetIds"], described["SecurityGroupIds"]
    described["NetworkInterfaces"] = list(interfaces)
    return config


@pytest.mark.proves("The file check and Ray accept a head with a fixed address, as the page shows it", how="lint")
def test_a_head_keeps_its_address_by_the_block_of_the_page(config):
    [block] = [each.text for each in blocks(ROOT / "docs" / "how-to" / "head-loss.md") if each.language == "yaml"]
    shown = yaml.safe_load(block)["NetworkInterfaces"]
    fixed = with_interfaces(config, *shown)
    assert (refused_by_ray(fixed), problems(fixed)) == (None, [])
    with played_boto3():
        launcher = importlib.import_module("ray.autoscaler._private.aws.config")
        head = launcher._configure_from_network_interfaces(fixed)[NODES]["head"]["node_config"]
    assert (head["SubnetIds"], head["SecurityGroupIds"]) == ([shown[0]["SubnetId"]], shown[0]["Groups"])
    assert head["NetworkInterfaces"][0]["PrivateIpAddress"]


@pytest.mark.parametrize(
    ("interfaces", "line"),
    [
        ([FIXED | {"SubnetId": "subnet-yours"}], r"\[0\]\.SubnetId: subnet-yours must be an id of yours"),
        ([{**FIXED, "SubnetId": ""}], r"\[0\]\.SubnetId: must name your own, subnet-…"),
        ([FIXED | {"Groups": []}], r"\[0\]\.Groups: must name your own, sg-…"),
        (
            [FIXED | {"PrivateIpAddress": "10.0.1.300"}],
            r"\[0\]\.PrivateIpAddress: 10\.0\.1\.300 must be a free address",
        ),
        ([FIXED | {"NetworkInterfaceId": "eni-0a1b2c3d"}], r"\[0\]\.NetworkInterfaceId: .*use PrivateIpAddress"),
        ([FIXED, FIXED], r"\[1\]\.DeviceIndex: must be 1"),
    ],
)
def test_each_mistake_in_an_interface_is_named(config, interfaces, line):
    [found] = problems(with_interfaces(config, *interfaces))
    assert re.match(rf"available_node_types\.head\.node_config\.NetworkInterfaces{line}", found)


def test_a_network_is_said_once_and_a_worker_has_one_subnet_in_each_zone(config):
    twice = with_interfaces(config, FIXED)
    twice[NODES]["head"]["node_config"]["SubnetIds"] = ["subnet-0a1b2c3d"]
    [found] = problems(twice)
    assert found.startswith("available_node_types.head.node_config.SubnetIds: must not stand beside NetworkInterfaces")
    [found] = problems(with_interfaces(config, FIXED, node="a10g"))
    assert found.startswith("available_node_types.a10g.node_config.NetworkInterfaces: only the head may have it")


def start_ray(home, field):
    """What `ray start` of the shipped file is given on a machine: its arguments, and its environment."""
    ray = home / "ray"
    ray.write_text('#!/bin/sh\necho "$@"\nenv\n')
    ray.chmod(0o700)
    [command] = [each.replace("/opt/fleet/bin/ray", str(ray)) for each in SHIPPED[field] if "ray start" in each]
    there = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "10.0.1.10"}
    done = subprocess.run(["bash", "-c", command], env=there, capture_output=True, text=True, check=True)
    arguments, _, environment = done.stdout.partition("\n")
    return arguments, environment


@pytest.mark.proves(
    "Only the head on AWS reads the password of its Redis, which no command of the file holds", how="stand-in"
)
def test_the_head_alone_reads_the_password_of_its_redis(tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "environment").write_text("FLEET_NATS_USER=dispatcher\n")
    arguments, environment = start_ray(tmp_path, "head_start_ray_commands")
    assert "--head" in arguments
    assert "redis" not in arguments.lower() + environment.lower()
    (secrets / "redis").write_text("RAY_REDIS_ADDRESS=redis.example:6379\nREDIS_PASSWORD=invented\n")
    arguments, environment = start_ray(tmp_path, "head_start_ray_commands")
    assert "--redis-password=invented" in arguments.split()
    assert "RAY_REDIS_ADDRESS=redis.example:6379" in environment.splitlines()
    assert "invented" not in environment
    arguments, environment = start_ray(tmp_path, "worker_start_ray_commands")
    assert "redis" not in arguments.lower() + environment.lower()
    assert "RAY_gcs_rpc_server_reconnect_timeout_s=600" in environment.splitlines()
