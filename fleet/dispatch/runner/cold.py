"""Targets without a replica: which jobs wait for one, and which go elsewhere for the want of it."""

from __future__ import annotations

from typing import TypeGuard

from fleet.dispatch.office import Office
from fleet.dispatch.state.load import all_warm
from fleet.dispatch.step import Case
from fleet.model.action import Action, Run, Wait
from fleet.model.reason import Reason
from policies.resilience.breaker import PROBE_SECONDS
from policies.resilience.cold import worth_starting_for

LOOK_AGAIN_SECONDS = 1.0
"""A job that waits for a replica is decided on anew after that: its deadline comes near, another target gets warm."""


def waits_for_replica(action: Action | Exception) -> TypeGuard[Wait]:
    return isinstance(action, Wait) and action.reason is Reason.COLD


def waits_here(action: Action | Exception, target: str, office: Office) -> bool:
    """Whether the job waits for a replica of this target, or for the call that decides whether it works again."""
    if not isinstance(action, Wait) or action.target != target:
        return False
    if action.reason is Reason.COLD:
        return True
    # Where only the fleet's account is in question, what stays here would be sent out at once.
    is_probed = action.reason is Reason.BREAKER_OPEN and action.seconds <= PROBE_SECONDS
    return is_probed and office.state.shut(target, office.clock.now())[1]


def note_missed(office: Office, case: Case, action: Action | Exception, now: float) -> None:
    """Report a job that goes to a dearer target because its own is cold, as one that its own missed.

    What is held cold misses nothing: nobody starts it, and what Serve has given up is tried again once it is idle.
    """
    if not isinstance(action, Run) or action.reason is not Reason.TARGET_COLD:
        return
    wanted = office.look(case, all_warm(office.state.view()), now)
    if not isinstance(wanted, Run):
        return
    capacity = office.state.replicas.of(wanted.target)
    is_held = capacity is not None and capacity.held
    if not is_held and worth_starting_for(case.job, wanted.target, action.target, office.rules):
        office.state.loads.missed(case.job, wanted.target)
