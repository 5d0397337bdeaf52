"""The end of a job that its publisher has cancelled."""

from __future__ import annotations

from fleet.model.action import GiveUp
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status

CANCELLED = GiveUp(Status.CANCELLED, Reason.CANCELLED, Problem("the job was called off"))
"""The action for a cancelled job, whatever it has in hand: the publisher does not want it any more."""
