"""Files of learned routers, each for a weak target and the tasks whose prompts it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.files import write_whole
from fleet.model.calibration import ANY
from fleet.model.errors import ConfigError
from fleet.model.router import Router, RouterKey, from_plain, to_plain
from fleet.settings.documents import named, read_bytes
from policies.routing.learned_router import suffices, switch_on
from policies.rules.catalogue import Catalogue

SCHEMA = 1

Routers = Mapping[RouterKey, Router]


def load_routers(path: Path, catalogue: Catalogue) -> Routers:
    """Return the routers in a file; each must be for two targets of the catalogue and good enough to decide.

    Raises: ConfigError; `field` is the dotted path inside the file, `rule` ends with the file.
    """
    content = read_bytes(path)
    return named(path, lambda: _routers(content, path.name, catalogue))


def _routers(content: bytes, name: str, catalogue: Catalogue) -> Routers:
    try:
        document = json.loads(content.decode())
    except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError
        raise ConfigError(name, f"must be JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "routers" not in document:
        raise ConfigError("schema", f"must be {SCHEMA}, beside a list of routers")
    return dict(_row(f"routers.{number}", row, catalogue) for number, row in enumerate(document["routers"]))


def _row(path: str, row: Any, catalogue: Catalogue) -> tuple[RouterKey, Router]:
    try:
        router = from_plain(row["router"])
        family = str(row["task"])
        suffices(router, "a text that any router can read")
        ruling = switch_on(router)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(path, f"must be a router as `fleet router` writes it: {type(error).__name__}") from None
    for name in ("weak", "strong"):
        if getattr(router, name) not in catalogue.targets:
            raise ConfigError(f"{path}.router.{name}", f"must be one of {', '.join(catalogue.targets)}")
    if not ruling.on:
        raise ConfigError(path, f"must be good enough to decide; {ruling.reason}")
    if family.endswith(ANY) and router.table_apgr is None:
        raise ConfigError(
            path, f"must have been held against the table of tasks, as {family} is more than one: fit it again"
        )
    return (router.weak, family), router


def save_routers(path: Path, routers: Routers) -> None:
    """Write the routers to a file; the same routers always give the same file.

    Raises: OSError if the file cannot be written.
    """
    rows = [{"task": key[1], "router": to_plain(routers[key])} for key in sorted(routers)]
    write_whole(path, (json.dumps({"schema": SCHEMA, "routers": rows}) + "\n").encode())
