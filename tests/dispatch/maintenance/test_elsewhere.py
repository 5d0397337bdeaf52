"""What becomes of work that only another dispatcher has the fleet's key for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fleet.dispatch.runner.here import LEFT_SECONDS, TargetDecider
from fleet.model.action import GiveUp, Run, Wait
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status

HERE, EVERYWHERE = object(), object()
NOWHERE = GiveUp(Status.FAILED, Reason.NO_TARGET, Problem("no key"))
OPEN = Wait("cloud", 1.0, Reason.BREAKER_OPEN)
JOB = SimpleNamespace(hop=0, attempts=())


def of_cloud(elsewhere, found):
    state = SimpleNamespace(elsewhere=elsewhere, view=lambda here: HERE)
    decider = SimpleNamespace(action=lambda inflight, view, now: found(view))
    return TargetDecider(SimpleNamespace(name="cloud"), decider, state, clock=None)


@pytest.mark.parametrize("found", [OPEN, Run("cloud", Reason.ROUTED)])
def test_work_for_a_key_only_others_have_is_left_to_them_also_while_the_target_is_shut(found):
    decider = of_cloud({"cloud": False}, lambda view: NOWHERE if view is HERE else found)
    assert decider.action(JOB, EVERYWHERE, 0.0) == Wait("cloud", LEFT_SECONDS, Reason.TARGET_UNAVAILABLE)


def test_work_this_dispatcher_may_run_waits_here_for_its_breaker():
    assert of_cloud({"other": False}, lambda view: OPEN).action(JOB, EVERYWHERE, 0.0) == OPEN
