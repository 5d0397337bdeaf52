"""Reads what somebody else wrote: files of a folder that are no way out of it, and JSON that says one thing."""

from __future__ import annotations

import json
import os
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from fleet.model.errors import ConfigError

MOST_JSON: Final = 1024**2
"""Maximum bytes of a configuration or a card."""


def opened(path: Path) -> BufferedReader:
    """Open a file that is no link, which could lead anywhere. Raises: ConfigError naming it; OSError."""
    if path.is_symlink():
        raise ConfigError(str(path), "must be a file, and is a link: copy what it points at")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def read_json(path: Path, most: int = MOST_JSON) -> dict[str, Any]:
    """Return the JSON object in a file. Raises: ConfigError naming the file and the rule; OSError."""
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ConfigError(str(path), f"must have at most {most:,} bytes")
    return strict_json(data, str(path), "a JSON object")


def strict_json(data: bytes, where: str, wanted: str) -> dict[str, Any]:
    """Return a JSON object; no key in it comes twice, and no number is infinite or none.

    Raises: ConfigError that names `where`, what was `wanted` and why it is none.
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(where, f"must be {wanted} ({why})") from None
    if not isinstance(found, dict):
        raise ConfigError(where, f"must be {wanted}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:index]))
        raise ValueError(f"the key {twice[:80]!r} comes twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
