"""What becomes of work that only another dispatcher has the fleet's key for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fleet.dispatch.maintenance.elsewhere import LEFT_SECONDS, look_here_first
from fleet.model.action import GiveUp, Run, Wait
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status

HERE, EVERYWHERE = object(), object()
NOWHERE = GiveUp(Status.FAILED, Reason.NO_TARGET, Problem("no key"))
OPEN = Wait("cloud", 1.0, Reason.BREAKER_OPEN)


@pytest.mark.parametrize("found", [OPEN, Run("cloud", Reason.ROUTED)])
def test_work_for_a_key_only_others_have_is_left_to_them_also_while_the_target_is_shut(found):
    state = SimpleNamespace(elsewhere={"cloud": False}, view=lambda here: HERE)
    office = SimpleNamespace(state=state, look=lambda case, view, now: NOWHERE if view is HERE else found)
    case = SimpleNamespace(hop=0, attempts=())
    left = look_here_first(office, case, "cloud", EVERYWHERE, 0.0)
    assert left == Wait("cloud", LEFT_SECONDS, Reason.TARGET_UNAVAILABLE)


def test_work_this_dispatcher_may_run_waits_here_for_its_breaker():
    state = SimpleNamespace(elsewhere={"other": False}, view=lambda here: HERE)
    office = SimpleNamespace(state=state, look=lambda case, view, now: OPEN)
    assert look_here_first(office, SimpleNamespace(hop=0, attempts=()), "cloud", EVERYWHERE, 0.0) == OPEN
