"""Faults of the surroundings: a network that is cut, a clock that is set, a full disk, an upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.chaos.bed import LEASE_SECONDS, Bed
from benchmarks.chaos.children import CLOCK_BACK, CLOCK_ON, Place
from benchmarks.chaos.relay import Relay

CUT = "cut off for two leases"
CLOCKS = {"an hour on": CLOCK_ON, "an hour back": CLOCK_BACK}
FULL = "full, then mended"
NEWER_TARGET = "one knows a target more"
NEW_TARGET = "claude-sonnet"
"""The target that the older dispatcher of an upgrade does not know; every twentieth job names it."""

STORE_BYTES = 1 << 29
BLOCK_BYTES = 1 << 20
FULL_SECONDS = 2.0
FAULTS = {"network": (CUT,), "clock": tuple(CLOCKS), "disk": (FULL,), "upgrade": (NEWER_TARGET,)}
"""The steps of each fault, as rows of the matrix name them."""

Noted = Callable[[str, str, float], Awaitable[None]]
"""Notes a fault by its kind, its step, and its time (monotonic); returns once the fleet continues."""


class Surroundings:
    """Strikes the fleet on `bed`. `more_results` waits for a random number of results."""

    def __init__(self, bed: Bed, noted: Noted, more_results: Callable[[], Awaitable[None]]) -> None:
        self._bed = bed
        self._noted = noted
        self._more_results = more_results

    async def strike(self, what: str, step: str) -> None:
        match what:
            case "network":
                await self._cut_off()
            case "clock":
                await self._set_clock(step)
            case "disk":
                await self._fill_disk()
            case _:
                await self._upgrade()

    async def _cut_off(self) -> None:
        """Cut a dispatcher off for two leases: its jobs go to the other one, and its own late words come afterwards."""
        async with Relay(int(self._bed.server.url.rsplit(":", 1)[1])) as relay:
            cut_off = await self._in_place_of_the_oldest(replace(self._bed.place, nats_url=relay.url))
            relay.cut()
            cut_at = time.monotonic()
            await self._noted("network", CUT, cut_at)
            await asyncio.sleep(2 * LEASE_SECONDS)
            relay.mend()
            await self._more_results()
            await cut_off()

    async def _set_clock(self, step: str) -> None:
        process = self._bed.dispatchers[0]
        assert process.pid is not None
        os.kill(process.pid, CLOCKS[step])
        set_at = time.monotonic()
        await self._more_results()
        await self._noted("clock", step, set_at)
        await self._bed.retire(process)

    async def _fill_disk(self) -> None:
        """Fill the disk, then make room and restart the server: one that met a full disk gives its streams up."""
        filler = self._bed.server_folder / "filler"
        full_at = time.monotonic()
        await asyncio.to_thread(_fill, filler)
        await asyncio.sleep(FULL_SECONDS)
        filler.unlink()
        await asyncio.to_thread(self._bed.restart_server)
        await self._noted("disk", FULL, full_at)

    async def _upgrade(self) -> None:
        """Run the older version beside the newer one, then replace the older one as well."""
        begun_at = time.monotonic()
        upgraded = await self._in_place_of_the_oldest(_before(self._bed.place))
        await self._noted("upgrade", NEWER_TARGET, begun_at)
        await upgraded()

    async def _in_place_of_the_oldest(self, place: Place) -> Callable[[], Awaitable[None]]:
        """Start a dispatcher at `place` and wait until it works; return what replaces it again."""
        await self._bed.retire(self._bed.dispatchers[0], place)
        process = self._bed.dispatchers[-1]
        await self._more_results()
        return lambda: self._bed.retire(process)


def _before(place: Place) -> Place:
    """Return the place of a dispatcher whose catalogue and rules do not hold the new target yet."""
    folder = place.folder
    catalogue, rules = folder / "catalogue-before.yaml", folder / "rules-before.yaml"
    if not rules.exists():
        known: dict[str, Any] = yaml.safe_load(Path("deployments/catalogue.yaml").read_text())
        known["targets"] = [row for row in known["targets"] if row["name"] != NEW_TARGET]
        catalogue.write_text(yaml.safe_dump(known))
        rules.write_text(
            yaml.safe_dump(_without(yaml.safe_load(Path(place.environment["FLEET_RULES_PATH"]).read_text())))
        )
    changes = {"FLEET_CATALOGUE_PATH": str(catalogue), "FLEET_RULES_PATH": str(rules)}
    return replace(place, environment={**place.environment, **changes})


def _without(part: Any) -> Any:
    """Return the same document without the new target."""
    if isinstance(part, dict):
        return {name: _without(value) for name, value in part.items() if name != NEW_TARGET}
    return [each for each in part if each != NEW_TARGET] if isinstance(part, list) else part


def _fill(filler: Path) -> None:
    """Write until nothing fits any more; the broker writes as well, so nobody knows the free space before."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(BLOCK_BYTES))


def own_disk(folder: Path) -> bool:
    """Give the broker a disk of its own, in memory; return False if this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def give_back(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], capture_output=True, check=True)
