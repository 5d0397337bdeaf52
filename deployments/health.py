"""When an engine that lives does nothing any more: a stuck kernel, a deadlock, a driver that never returns.

vLLM itself notices an engine that has died, not one that is silent. Progress is any output of any request: while
requests are written each step sends one, and the silence is never longer than the longest prompt takes to read. An
engine that nobody asks is not watched: only a request tells it from a healthy one, and probes would say no more than
the first real request does, half a minute sooner at best and at the price of a machine that never rests.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto

from fleet.model.errors import ConfigError

VARIABLE = "FLEET_ENGINE_SILENCE_SECONDS"

SILENCE_SECONDS = 30.0
"""A step takes milliseconds, on a slow CPU with a full batch some seconds; reading the longest prompt of the profiles
is one step of a few seconds. Half of a self-hosted target's timeout, so that a job is not lost twice to one engine."""

LAST_STRIKE = 3
"""Serve, too, gives a replica up after three failed checks in a row. One alone may mean that this process was stopped
and its engine's outputs have not been read yet."""


class Verdict(Enum):
    """What to make of an engine: all is well, ask it for a sign of life, it is stuck, it is given up."""

    WELL = auto()
    ASK = auto()
    STUCK = auto()
    GIVEN_UP = auto()


@dataclass(slots=True)
class Progress:
    """Watches one engine from check to check; it is stuck once it owed an output for `silence_seconds`."""

    silence_seconds: float
    _outputs: int = 0
    _owed_since: float | None = None
    _strikes: int = 0

    def look(self, outputs: int, unfinished: int, now: float) -> Verdict:
        """`outputs` so far, requests `unfinished` now; `now` in seconds of a clock that never goes back.

        A request that left unanswered, by its timeout or because it was called off, leaves its debt behind: many short
        timeouts must not hide that none of them was ever answered. With nobody left to wait for, the engine is asked.
        """
        if outputs != self._outputs:
            self._outputs, self._owed_since, self._strikes = outputs, None, 0
        if self._owed_since is None:
            if unfinished:
                self._owed_since = now
            return Verdict.WELL
        if now - self._owed_since < self.silence_seconds:
            return Verdict.WELL if unfinished else Verdict.ASK
        self._strikes += 1
        return Verdict.STUCK if self._strikes < LAST_STRIKE else Verdict.GIVEN_UP


def silence_seconds() -> float:
    """What FLEET_ENGINE_SILENCE_SECONDS says in the environment of the replica. Raises `ConfigError`."""
    said = os.environ.get(VARIABLE, "")
    if not said:
        return SILENCE_SECONDS
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(VARIABLE, "must be a number of seconds, more than 0")
    return seconds
