"""Detects an engine that is alive but does nothing: a stuck kernel, a deadlock, a driver that never returns.

vLLM itself notices an engine that has died, not one that is silent. Progress is any output of any request: while
requests are running each step sends one, and the silence is never longer than the longest prompt takes to read. An
engine without requests is not watched: only a request tells a stuck one from a healthy one, and probes would notice no
more than the first real request does, half a minute sooner at best, and would never let the machine rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto

from fleet.model.errors import ConfigError

VARIABLE = "FLEET_ENGINE_SILENCE_SECONDS"

SILENCE_SECONDS = 30.0
"""A step takes milliseconds, on a slow CPU with a full batch some seconds; reading the longest prompt of the profiles
is one step of a few seconds. Half of a self-hosted target's timeout, so that a job is not lost twice to one engine.
"""

LAST_STRIKE = 3
"""Serve, too, gives a replica up after three failed checks in a row. One alone may mean that this process was stopped
and its engine's outputs have not been read yet.
"""


class EngineHealth(Enum):
    """The state of an engine: well, to be asked for a sign of life, stuck, or given up."""

    WELL = auto()
    ASK = auto()
    STUCK = auto()
    GIVEN_UP = auto()


@dataclass(slots=True)
class StallDetector:
    """Watches one engine from check to check; the engine is stuck once it has owed an output for `silence_seconds`."""

    silence_seconds: float
    _outputs: int = 0
    _owed_since: float | None = None
    _strikes: int = 0

    def look(self, outputs: int, unfinished: int, now: float) -> EngineHealth:
        """Judge the engine by its `outputs` so far and `unfinished` requests; `now` is seconds of a monotonic clock.

        A request that left unanswered, because it timed out or was cancelled, leaves its debt behind: many short
        timeouts must not hide that none of them was ever answered. If no request is left to wait for, the engine is
        asked.
        """
        if outputs != self._outputs:
            self._outputs, self._owed_since, self._strikes = outputs, None, 0
        if self._owed_since is None:
            if unfinished:
                self._owed_since = now
            return EngineHealth.WELL
        if now - self._owed_since < self.silence_seconds:
            return EngineHealth.WELL if unfinished else EngineHealth.ASK
        self._strikes += 1
        return EngineHealth.STUCK if self._strikes < LAST_STRIKE else EngineHealth.GIVEN_UP


def silence_seconds() -> float:
    """Return FLEET_ENGINE_SILENCE_SECONDS from the environment of the replica, or its default.

    Raises: ConfigError if the value is no positive number.
    """
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
