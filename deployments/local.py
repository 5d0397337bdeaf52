"""Ray, the models and the dispatcher of a local fleet, in a process of their own: `python -m deployments.local`.

Whoever starts it writes one `Order` as JSON on standard input and keeps that open: its end means that nobody wants this
process any more. It answers with a JSON object a line on standard output: `urls`, then `applications` once all models
answer; or `error`. When Ray's own servers end it ends too, at once: a driver without them hangs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from deployments import cluster
from deployments.profiles import Profile, models
from deployments.serve.declared import Declared
from fleet.model.errors import FleetError

LOOK_SECONDS: Final = 0.5
"""Seconds between two looks at Ray's servers."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, with `folder` for what Ray writes: `factory` makes the dispatcher, scaling reads `readings`."""

    profile: str
    dashboard: bool
    dashboard_port: int
    http_port: int
    folder: str
    factory: str
    readings: str
    least: int | None

    @property
    def targets(self) -> tuple[str, ...]:
        """The models of the profile."""
        return tuple(models(Profile(self.profile)))

    def encode(self) -> bytes:
        """Return the line that `main` reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


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
        cluster.deploy(_declared(order).applications())
        _answer(answers, applications={name: asdict(found) for name, found in cluster.status().items()})
    except FleetError as error:
        _end(answers, str(error))
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())  # Ray has put its own handler there
    threading.Thread(target=_wait_for_end_of_input, args=(told_to_end,), daemon=True).start()
    told_to_end.wait()
    cluster.stop()


def _declared(order: Order) -> Declared:
    host = {"factory": order.factory}
    return Declared(Profile(order.profile), host=host, readings=order.readings, least=order.least)


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


def _wait_for_end_of_input(told_to_end: threading.Event) -> None:
    sys.stdin.read()
    told_to_end.set()


def _answer(answers: IO[str], **what: Mapping[str, Any] | list[str | None] | str) -> None:
    answers.write(json.dumps(what) + "\n")


def _end(answers: IO[str], error: str) -> NoReturn:
    """Say why and end, without a word to Ray, which may be what hangs; who started us ends what is left."""
    _answer(answers, error=error)
    os._exit(1)


if __name__ == "__main__":
    main()
