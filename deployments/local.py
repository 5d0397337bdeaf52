"""Ray, the models and the dispatcher of a local fleet, in a process of their own: `python -m deployments.local`.

Whoever starts it writes one `Order` as JSON on standard input and keeps that open: its end means that nobody wants this
process any more. It answers with a JSON object a line on standard output: `urls`; now and then `starting`, with what
runs and what does not yet; `applications` once all models answer; from then on `ill` and `well` with an application
that Serve finds unhealthy, or healthy again. Where it fails the last line is `error`. When Ray's own servers end it
ends too, at once: a driver without them hangs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from deployments import cluster
from deployments.profiles import AdapterSlots, Profile, models
from deployments.serve.declared import Declared
from fleet.model.errors import FleetError

LOOK_SECONDS: Final = 0.5
"""Seconds between two looks at Ray's servers."""

HEALTH_SECONDS: Final = 5.0
"""Seconds between two looks at what Serve says of the applications: an engine takes longer to start again."""

REPEAT_SECONDS: Final = 15.0
"""Seconds after which a start says how far it is though nothing has changed."""


_one_line_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Order:
    """Says what to run, with `folder` for what Ray writes: `factory` makes the dispatcher, scaling reads `readings`.

    The engines of the models named in `adapters` serve adapters.
    """

    profile: str
    dashboard: bool
    dashboard_port: int
    http_port: int
    folder: str
    factory: str
    readings: str
    least: int | None
    adapters: Sequence[str] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The models of the profile."""
        return tuple(models(Profile(self.profile)))

    def encode(self) -> bytes:
        """Return the line that `main` reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Progress:
    """Tells how far a start is: what runs, what is still starting, and the seconds so far."""

    def __init__(
        self, names: Collection[str], tell: Callable[..., None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names
        self._tell = tell
        self._clock = clock
        self._since = self._told_at = clock()
        self._told: Collection[str] = set()

    def look(self, running: Collection[str]) -> None:
        """Tell it where something has changed, or nothing was told for a while."""
        now = self._clock()
        if set(running) != self._told or now - self._told_at >= REPEAT_SECONDS:
            self._told, self._told_at = set(running), now
            missing = sorted(set(self._names) - set(running))
            self._tell(starting={"running": sorted(running), "missing": missing, "seconds": round(now - self._since)})


class Health:
    """Tells once of an application that becomes unhealthy, and once that it is healthy again."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._ill: set[str] = set()

    def look(self, found: Mapping[str, cluster.ApplicationStatus]) -> None:
        """Tell what has changed since the last look. One that is being deployed again is neither ill nor well yet."""
        for name, application in found.items():
            if application.status == "UNHEALTHY" and name not in self._ill:
                self._ill.add(name)
                self._tell(ill=name)
            elif application.status == "RUNNING" and name in self._ill:
                self._ill.remove(name)
                self._tell(well=name)


def main() -> None:
    """Start everything, say so, and stop on SIGTERM or at the end of standard input."""
    answers = _private_stdout()
    order = Order(**json.loads(sys.stdin.readline()))
    told_to_end = threading.Event()
    # Linux ends Ray's servers with the thread that started them, so it is this one, which lasts.
    try:
        started = cluster.start(
            dashboard=order.dashboard,
            dashboard_port=order.dashboard_port,
            http_port=order.http_port,
            temp_dir=Path(order.folder),
        )
        threading.Thread(target=_watch_servers, args=(answers,), daemon=True).start()
        _answer(answers, urls=[started.serve_url, started.dashboard_url])
        applications = _declared(order).applications()
        progress = Progress({each["name"] for each in applications}, lambda **what: _answer(answers, **what))
        cluster.deploy(applications, progress.look)
        _answer(answers, applications={name: asdict(found) for name, found in cluster.status().items()})
    except FleetError as error:
        _end(answers, str(error))
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())  # Ray has put its own handler there
    threading.Thread(target=_wait_for_end_of_input, args=(told_to_end,), daemon=True).start()
    # A thread of its own: Ray may not answer, which `_watch_servers` must notice nevertheless.
    threading.Thread(target=_watch_health, args=(answers, told_to_end), daemon=True).start()
    told_to_end.wait()
    cluster.stop()


def _declared(order: Order) -> Declared:
    host = {"factory": order.factory}
    adapters = dict.fromkeys(order.adapters, AdapterSlots())
    return Declared(Profile(order.profile), None, True, host, order.readings, order.least, adapters)


def _private_stdout() -> IO[str]:
    """Return a standard output of our own: what others print goes to standard error."""
    ours = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return ours


def _watch_servers(answers: IO[str]) -> None:
    pause = threading.Event()
    while not pause.wait(LOOK_SECONDS):
        if ended := cluster.ended_servers():
            _end(answers, f"Ray's {' and '.join(ended)} ended")


def _watch_health(answers: IO[str], told_to_end: threading.Event) -> None:
    health = Health(lambda **what: _answer(answers, **what))
    while not told_to_end.wait(HEALTH_SECONDS):
        with suppress(Exception):  # Serve's controller starts again, or Ray ends: both are noticed elsewhere
            health.look(cluster.status())


def _wait_for_end_of_input(told_to_end: threading.Event) -> None:
    sys.stdin.read()
    told_to_end.set()


def _answer(answers: IO[str], **what: Any) -> None:
    with _one_line_at_a_time:
        answers.write(json.dumps(what) + "\n")


def _end(answers: IO[str], error: str) -> NoReturn:
    """Say why and end, without a word to Ray, which may be what hangs; who started us ends what is left."""
    _answer(answers, error=error)
    os._exit(1)


if __name__ == "__main__":
    main()
