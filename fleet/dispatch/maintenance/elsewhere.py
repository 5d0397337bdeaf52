"""Work in hand that may go on at a target only other dispatchers serve."""

from __future__ import annotations

from fleet.dispatch.office import Office
from fleet.dispatch.step import Case
from fleet.model.action import Action, Run, Wait
from fleet.model.reason import Reason
from fleet.model.view import View

MOST_HOPS = 8
"""Hand-overs of a job without an attempt, after which it stays for a while where it is."""

LEFT_SECONDS = 2.0
"""How long a job is left to the other dispatchers that serve its target, where this one may not run it."""


def look_here_first(office: Office, case: Case, target: str, view: View, now: float) -> Action | Exception:
    """What to do with work taken for `target`, where `view` is of all that any dispatcher serves.

    What can run here comes first: of a target elsewhere neither breaker nor replicas are known, and two dispatchers
    must not pass a job to and fro. One that is passed on often all the same waits in between.
    """
    if not office.state.elsewhere:
        return office.look(case, view, now)
    here = office.look(case, office.state.view(here=True), now)
    if isinstance(here, Run):
        return here
    found = office.look(case, view, now)
    if isinstance(found, Wait) and found.target == target and not isinstance(here, Wait):
        return Wait(target, LEFT_SECONDS, Reason.TARGET_UNAVAILABLE)  # it waits for others' key, and must not here
    if not isinstance(found, Run) or (found.target != target and case.hop <= MOST_HOPS + len(case.attempts)):
        return found
    return here if isinstance(here, Wait) else Wait(target, LEFT_SECONDS, Reason.TARGET_UNAVAILABLE)
