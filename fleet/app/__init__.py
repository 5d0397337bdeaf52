"""The composition root: the only place that pairs adapters with ports.

Ray is loaded only where a self-hosted target or the local fleet is asked for; a publisher, a status query and a
dispatcher with cloud targets alone never need it.
"""

from fleet.app.adapters import open_adapters, register_adapter
from fleet.app.batches import run_batches
from fleet.app.broker import (
    apply_topology,
    login_of,
    open_batches,
    open_cache,
    open_cache_promises,
    open_calibrations,
    open_contents,
    open_dead_letters,
    open_desk,
    open_erasing,
    open_journal,
    open_keys,
    open_ledger_feed,
)
from fleet.app.calibrations import load_calibrations, read_calibrations, save_calibrations, shipped_calibrations
from fleet.app.experiments import evidence_on, open_experiments, read_experiment
from fleet.app.learning import open_turns
from fleet.app.local import Fleet, start
from fleet.app.models import Checked, Presence, check_catalogue
from fleet.app.status import FleetStatus, SpendStatus, TargetStatus
from fleet.app.watch import InForce, Seen, Watch, read_status
from fleet.app.worker import DispatcherProcess, SystemClock, dispatcher_from_environment, rules_of, run_dispatcher

__all__ = [
    "Checked",
    "DispatcherProcess",
    "Fleet",
    "FleetStatus",
    "InForce",
    "Presence",
    "Seen",
    "SpendStatus",
    "SystemClock",
    "TargetStatus",
    "Watch",
    "apply_topology",
    "check_catalogue",
    "dispatcher_from_environment",
    "evidence_on",
    "load_calibrations",
    "login_of",
    "open_adapters",
    "open_batches",
    "open_cache",
    "open_cache_promises",
    "open_calibrations",
    "open_contents",
    "open_dead_letters",
    "open_desk",
    "open_erasing",
    "open_experiments",
    "open_journal",
    "open_keys",
    "open_ledger_feed",
    "open_turns",
    "read_calibrations",
    "read_experiment",
    "read_status",
    "register_adapter",
    "rules_of",
    "run_batches",
    "run_dispatcher",
    "save_calibrations",
    "shipped_calibrations",
    "start",
]
