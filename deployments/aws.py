"""Gives Ray's autoscaler machines on AWS: spot if there is capacity, on demand if not.

Ray 2.60 does not fall back by itself. Its autoscaler (v2, which `ray up` takes) remembers a node type as unavailable
only if a machine was allocated and Ray did not come up on it. A request that EC2 refuses, which is how it says that
there is no spot capacity, is forgotten: the next round picks the same node type again, whatever `priority` others have.
Autoscaler v1 does remember it, and its scorer ignores what it remembers. So the provider falls back when EC2 refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

from fleet.logs import get_logger

log = get_logger(__name__)

MARKET: Final = "InstanceMarketOptions"

NO_SPOT: Final = frozenset(
    {
        "InsufficientInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",  # the last zone tried does not have the type at all; earlier ones had no room
    }
)
"""EC2's error codes for "not as spot, not now". Any other error, such as a throttled API, is no reason to pay more."""


class SpotFirstProvider(AWSNodeProvider):  # type: ignore[misc]  # Ray ships no types
    """Ray's AWS provider, which tries every zone of the cluster file; named there as `provider.module`."""

    def create_node(self, node_config: Mapping[str, Any], tags: Mapping[str, str], count: int) -> Any:
        """Create the nodes, on demand if EC2 has no spot capacity.

        Raises: NodeLaunchException if EC2 has no such machine on demand either.
        """
        try:
            return super().create_node(node_config, tags, count)
        except NodeLaunchException as refused:
            if MARKET not in node_config or refused.category not in NO_SPOT:
                raise
            log.warning("spot_capacity_missing", instance_type=node_config["InstanceType"], category=refused.category)
        return super().create_node({key: node_config[key] for key in node_config if key != MARKET}, tags, count)
