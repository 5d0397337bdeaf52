"""Fault points: named places on the path of a job where a test can make the process die, fail, stand still or lose one
message.

    FLEET_FAULTS="runner.published=kill@3"              the third passage is the process's last
    FLEET_FAULTS="intake.taken=delay:0.5@p0.01;seed=7"  one passage in a hundred stands still for half a second

Without the variable `point` is a function that does nothing. Call it as `faults.point(...)`: it is replaced when armed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleet.model.errors import ConfigError, QueueUnavailable

VARIABLE: Final = "FLEET_FAULTS"

POINTS: Final[Mapping[str, str]] = {
    "client.submitting": "before jobs are sent to the broker",
    "client.submitted": "the broker has confirmed them, the caller does not know yet",
    "intake.taken": "jobs are in hand",
    "intake.decided": "their next step is decided",
    "intake.published": "what comes next is stored, the job is not acknowledged",
    "intake.acked": "the job is acknowledged",
    "runner.taken": "work is in hand",
    "money.reserved": "money is set aside, the call is not recorded",
    "start.recorded": "the paid call is recorded, not made",
    "runner.calling": "before a call of the fleet's own models",
    "runner.answered": "after it",
    "runner.calling_paid": "before a paid call",
    "runner.answered_paid": "after it: it is charged, and nobody else knows",
    "money.settled": "the charge is on its way to the book",
    "runner.judged": "what follows from the answers is decided, nothing of it is stored",
    "queue.stored": "between two letters of one step: a result and its line in the ledger, say",
    "runner.published": "what comes next is stored, the work is not acknowledged",
    "runner.acked": "the work is acknowledged",
    "batch.validated": "a batch's file is read, no row of it is submitted",
    "batch.claimed": "it is on record which rows may be submitted next, none of them is",
    "batch.submitted": "rows are submitted, and nobody has put that on record",
    "batch.copied": "what came of rows is stored, and the batch does not name it yet",
    "batch.saved": "the batch names it and has counted it",
    "batch.ended": "a batch has its last status, and nobody was told",
    "lease.extending": "before the leases of all that is in hand are extended",
}
"""Every fault point by name, with what holds when it is passed, in the order of a job's path (the lease last)."""

DROPPABLE: Final = frozenset({"intake.published", "runner.published", "lease.extending", "money.settled"})
"""Points where `drop` has a meaning: the message that follows is left out as though it had been sent."""


class Action(StrEnum):
    """`kill` is SIGKILL, to this process or to the pid given; `delay` stops the whole process, as a pause of the
    machine does; `error` is the broker not answering; `drop` leaves the next message out."""

    KILL = "kill"
    ERROR = "error"
    DELAY = "delay"
    DROP = "drop"


class InjectedFault(QueueUnavailable):
    """An error that a fault point was asked to raise; nothing is really wrong."""


def _nothing(name: str) -> bool:
    return False


point: Callable[[str], bool] = _nothing
"""Pass the point of this name; True means: leave out the message that follows. Raises: InjectedFault if asked to."""

splits_letters = False
"""Whether letters are stored one by one, so that a fault may come between two."""


@dataclass(slots=True)
class _Fault:
    """A fault at one point, due at passage number `nth`, or with `probability` at each."""

    action: Action
    argument: float
    nth: int | None
    probability: float
    passages: int = 0

    def is_due(self, rng: random.Random) -> bool:
        self.passages += 1
        return self.passages == self.nth if self.nth is not None else rng.random() < self.probability

    def strike(self, name: str) -> bool:
        match self.action:
            case Action.KILL:
                os.kill(int(self.argument) or os.getpid(), signal.SIGKILL)
                return False
            case Action.ERROR:
                raise InjectedFault(f"a fault was asked for at {name}")
            case Action.DELAY:
                time.sleep(self.argument)
                return False
            case Action.DROP:
                return True


class _Faults:
    def __init__(self, faults: Mapping[str, _Fault], seed: int) -> None:
        self._faults = faults
        self._rng = random.Random(seed)

    def point(self, name: str) -> bool:
        fault = self._faults.get(name)
        return fault is not None and fault.is_due(self._rng) and fault.strike(name)


def arm(text: str) -> None:
    """Replace `point` by a function that injects the faults in `text`, or by one that does nothing if `text` is empty.

    Raises: ConfigError naming the variable and the rule.
    """
    global point, splits_letters
    clauses = [clause.strip().partition("=") for clause in text.split(";") if clause.strip()]
    seeds = [_number(value) for name, _, value in clauses if name == "seed"]
    faults = {name: _fault(name, value) for name, _, value in clauses if name != "seed"}
    point = _Faults(faults, int(seeds[-1]) if seeds else 0).point if faults else _nothing
    splits_letters = "queue.stored" in faults


def _fault(name: str, text: str) -> _Fault:
    """Parse `<action>[:<seconds or pid>]@<n>` or `...@p<probability>`. Raises: ConfigError."""
    if name not in POINTS:
        raise ConfigError(VARIABLE, f"{name} is no fault point; there are {', '.join(POINTS)}")
    what, _, when = text.partition("@")
    word, _, argument = what.partition(":")
    if word not in list(Action) or not when:
        raise ConfigError(VARIABLE, f"must be <point>=<{'|'.join(Action)}>[:<number>]@<n or p0.01>")
    if word == Action.DROP and name not in DROPPABLE:
        raise ConfigError(VARIABLE, f"nothing can be dropped at {name}, only at {', '.join(sorted(DROPPABLE))}")
    number = _number(argument or "0")
    if when.startswith("p"):
        return _Fault(Action(word), number, None, _number(when[1:]))
    return _Fault(Action(word), number, int(_number(when)), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(VARIABLE, f"{text!r} must be a number") from None


arm(os.environ.get(VARIABLE, ""))
