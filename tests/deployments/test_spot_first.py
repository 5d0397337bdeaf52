"""Ray's own AWS provider and autoscaler, on an EC2 that says no. boto3 is played: it belongs on the head alone."""

from __future__ import annotations

import copy
import importlib
from types import SimpleNamespace

import pytest
from played_boto3 import ClientError, played_boto3
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.core.generated.autoscaler_pb2 import GangResourceRequest, ResourceRequest
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

SPOT = {"InstanceType": "g5.xlarge", "SubnetIds": ["a", "b"], "InstanceMarketOptions": {"MarketType": "spot"}}
ON_DEMAND = {"InstanceType": "g5.xlarge", "SubnetIds": ["a", "b"]}


class Ec2:
    """Launches what it has; the others it refuses with a code each."""

    def __init__(self, refusals: dict[str, str]) -> None:
        self.refusals = refusals
        self.asked: list[tuple[str, str]] = []

    def create_instances(self, **wanted):
        market = wanted.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        self.asked.append((market, wanted["SubnetId"]))
        if market in self.refusals:
            raise ClientError(self.refusals[market])
        machine = SimpleNamespace(id="i-1", instance_id="i-1", state_reason=None, state={"Name": "pending"})
        return [machine] * wanted["MaxCount"]


@pytest.fixture
def spot_first():
    """The provider class, imported without boto3, and forgotten again."""
    with played_boto3():
        yield importlib.import_module("deployments.aws").SpotFirstProvider


@pytest.fixture
def launch(spot_first):
    def launch(node_config, refusals, count=1):
        provider = spot_first({"region": "us-east-1", "cache_stopped_nodes": False}, "fleet")
        provider.ec2_fail_fast = ec2 = Ec2(refusals)
        try:
            return ec2, len(provider.create_node(node_config, {}, count))
        except NodeLaunchException as refused:
            return ec2, refused.category

    return launch


def test_a_spot_machine_is_taken_where_there_is_one(launch):
    ec2, launched = launch(SPOT, {})
    assert (ec2.asked, launched) == ([("spot", "a")], 1)


@pytest.mark.proves("A machine is bought on demand only after every zone refused a spot one", how="stand-in")
@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow"])
def test_every_zone_is_asked_for_spot_before_one_is_asked_on_demand(launch, code):
    ec2, launched = launch(SPOT, {"spot": code})
    assert launched == 1
    *spot, last = ec2.asked
    assert {zone for market, zone in spot if market == "spot"} == {"a", "b"}
    assert last == ("on-demand", "a")


@pytest.mark.proves("Where no machine is to be had at all, Ray is told EC2's reason", how="stand-in")
def test_where_there_is_none_on_demand_either_ray_hears_why(launch):
    _, launched = launch(SPOT, {"spot": "Unsupported", "on-demand": "InsufficientInstanceCapacity"})
    assert launched == "InsufficientInstanceCapacity"


@pytest.mark.proves("A throttled or forbidden request is no reason to buy on demand", how="stand-in")
@pytest.mark.parametrize("code", ["RequestLimitExceeded", "UnauthorizedOperation", "InvalidParameterValue"])
def test_what_has_nothing_to_do_with_spot_is_no_reason_to_pay_more(launch, code):
    ec2, launched = launch(SPOT, {"spot": code})
    assert launched == code
    assert {market for market, _ in ec2.asked} == {"spot"}


def test_a_machine_that_was_never_spot_is_asked_for_once_in_each_zone_and_tried_no_further(launch):
    ec2, launched = launch(ON_DEMAND, {"on-demand": "InsufficientInstanceCapacity"})
    assert launched == "InsufficientInstanceCapacity"
    assert len(ec2.asked) == 5  # Ray's own number of tries


def test_the_file_s_own_configuration_is_left_as_it_was(launch):
    config = copy.deepcopy(SPOT)
    launch(config, {"spot": "InsufficientInstanceCapacity"})
    assert config == SPOT


@pytest.mark.parametrize(
    ("became", "next_choice"),
    [
        # EC2 refused the request: forgotten, and asked again. This is why the provider falls back.
        (Instance.ALLOCATION_FAILED, "spot"),
        # EC2 gave a machine and Ray never came up on it: remembered.
        (Instance.ALLOCATION_TIMEOUT, "on_demand"),
    ],
)
def test_ray_s_autoscaler_passes_over_a_node_type_only_after_a_time_out(became, next_choice):
    monitor = CloudResourceMonitor()
    monitor.notify([InstanceUpdateEvent(instance_type="spot", new_instance_status=became)])
    kinds = {
        name: NodeTypeConfig(name, 0, 4, priority=priority, resources={"CPU": 3, "GPU": 1})
        for name, priority in (("spot", 1), ("on_demand", 0))
    }
    request = SchedulingRequest(
        node_type_configs=kinds,
        disable_launch_config_check=True,
        max_num_nodes=8,
        gang_resource_requests=[GangResourceRequest(requests=[ResourceRequest(resources_bundle={"CPU": 3, "GPU": 1})])],
        cloud_resource_availabilities=monitor.get_resource_availabilities(),
        recoverable_resource_availabilities=monitor.get_recoverable_resource_availabilities(),
    )
    launched = ResourceDemandScheduler(event_logger=None).schedule(request).to_launch
    assert [(each.instance_type, each.count) for each in launched] == [(next_choice, 1)]
