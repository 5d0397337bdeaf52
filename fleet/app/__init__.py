"""The composition root: the only place that pairs adapters with ports.

Ray is loaded only where a self-hosted target or the local fleet is asked for; a publisher, a status query and a
dispatcher with cloud targets alone never need it.
"""

from fleet.app.desk import TopologyChange, apply_topology, open_desk
from fleet.app.local import Fleet, start
from fleet.app.status import FleetStatus, TargetStatus, read_status
from fleet.app.worker import DispatcherProcess, SystemClock, dispatcher_from_environment, rules_of, run_dispatcher

__all__ = [
    "DispatcherProcess",
    "Fleet",
    "FleetStatus",
    "SystemClock",
    "TargetStatus",
    "TopologyChange",
    "apply_topology",
    "dispatcher_from_environment",
    "open_desk",
    "read_status",
    "rules_of",
    "run_dispatcher",
    "start",
]
