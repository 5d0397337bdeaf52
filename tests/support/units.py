"""Reads the systemd units of deployments/systemd."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import deployments

FOLDER: Final = Path(deployments.__file__).parent / "systemd"

UNITS: Final = sorted(FOLDER.glob("*.service"))


def service(path: Path) -> dict[str, list[str]]:
    """Return the settings of the section Service, each with its values in order: some stand more than once."""
    section = path.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", section, re.M):
        found.setdefault(name, []).append(value)
    return found


def command(path: Path) -> list[str]:
    """Return what the unit starts: the program's name and its arguments."""
    [line] = service(path)["ExecStart"]
    program, *arguments = line.split()
    return [program.removeprefix("/opt/fleet/bin/"), *arguments]


def environment(path: Path) -> dict[str, str]:
    """Return the variables that the unit itself sets."""
    words = " ".join(service(path).get("Environment", [])).split()
    return {name: value for name, _, value in (word.partition("=") for word in words)}
