"""Keeps the parts of a fleet running: a part that ends is started again, after a pause that grows.

A part that ends again and again is given up: one that the fleet cannot do without ends the fleet, any other is missing
and said to be. Which is which, the part knows; what happens to it is told and logged here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from signal import Signals
from time import monotonic
from typing import Final, Protocol

from fleet.logs import get_logger
from fleet.model.errors import FleetError

PAUSES_SECONDS: Final = (0.0, 1.0, 5.0, 15.0, 30.0)
"""The pause before each start in a row. After the last, a part that ends again is given up."""

STABLE_SECONDS: Final = 60.0
"""Seconds after which a part has come through, and its next end is a first one again."""

log = get_logger(__name__)


class Part(Protocol):
    """A process, or several, that a fleet cannot answer jobs without, or only with something missing."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def without(self) -> str | None:
        """What does not happen without it; None if the fleet must end."""

    async def start(self) -> None:
        """Start it where it was; one that says when it works is waited for. Raises: FleetError."""

    async def ended(self) -> str:
        """Return how it ended, once it has: `was killed (SIGKILL)`."""

    async def stop(self) -> None:
        """Let it finish, then end it, with all that belongs to it; it may have ended."""


class Supervisor:
    """Starts parts one after the other, watches them, and stops them in reverse. `tell` gets a sentence for people."""

    def __init__(
        self,
        tell: Callable[[str], None],
        log_file: str,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._tell = tell
        self._log_file = log_file
        self._pauses = pauses
        self._clock = clock
        self._parts: list[Part] = []
        self._watches: list[asyncio.Task[None]] = []
        self._broken: asyncio.Future[FleetError] = asyncio.get_running_loop().create_future()

    async def add(self, part: Part) -> None:
        """Start the part, and watch it from now on. Raises: FleetError if it does not start the first time."""
        self._parts.append(part)
        await part.start()
        self._watches.append(asyncio.create_task(self._watch(part)))

    async def broken(self) -> FleetError:
        """Wait until the fleet cannot go on, and return why."""
        return await asyncio.shield(self._broken)

    async def stop(self) -> None:
        """Stop watching, then every part; the first that was started is the last to end."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        while self._parts:
            with suppress(FleetError, OSError):  # the others must be stopped nevertheless
                await self._parts.pop().stop()

    async def _watch(self, part: Part) -> None:
        failed, since = 0, self._clock()
        how = await part.ended()
        while True:
            if self._clock() - since > STABLE_SECONDS:
                failed = 0
            log.warning("part_ended", part=part.name, how=how, starts_again=failed < len(self._pauses))
            if failed == len(self._pauses):
                return self._give_up(part, how)
            self._tell(f"{part.name} {how}: it is started again")
            await asyncio.sleep(self._pauses[failed])
            failed, since = failed + 1, self._clock()
            try:
                await part.start()
            except (FleetError, OSError) as error:
                how = f"did not start ({error})"
                continue
            log.info("part_started_again", part=part.name)
            self._tell(f"{part.name} was started again")
            how = await part.ended()

    def _give_up(self, part: Part, how: str) -> None:
        """Say what is missing now, or end the fleet."""
        log.error("part_given_up", part=part.name, how=how, without=part.without)
        said = f"{part.name} {how}, {len(self._pauses) + 1} times in a row: see {self._log_file}"
        if part.without is not None:
            self._tell(f"{said}; until `fleet up` is started again, {part.without}")
        elif not self._broken.done():
            kept = "the jobs are kept, and are answered when `fleet up` runs again"
            self._broken.set_result(FleetError(f"{said}; the fleet ends; {kept}"))


def how_ended(code: int) -> str:
    """Return the exit code of a process in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed ({Signals(-code).name})"
    except ValueError:  # a real-time signal
        return f"was killed (signal {-code})"
