"""Files of texts that judge: evaluations, which nothing that is trained on may be like.

One JSON object a line, with `messages` (as a line of an export, of labels, or of a request), with `input.messages` or
`prompt`, either of which may be messages, or with `prompt` as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleet.lab.data.examples import prompt_of
from fleet.model.errors import ConfigError


def read_judging(path: Path) -> list[str]:
    """Return what each line asks. Raises: ConfigError that names the file, the line and the rule; OSError."""
    return list(_texts(path))


def _texts(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            asked = _asked(json.loads(line))
        except (ValueError, RecursionError):
            raise ConfigError(f"{path}, line {number}", "must be a JSON object") from None
        if not asked:
            raise ConfigError(f"{path}, line {number}", "must have `messages`, `input.messages` or `prompt`")
        yield asked


def _asked(row: Any) -> str:
    """Return the text that a row asks, without an answer it ends with."""
    if not isinstance(row, Mapping):
        return ""
    held = row.get("input")
    asked = row.get("messages") or (held.get("messages") if isinstance(held, Mapping) else None) or row.get("prompt")
    if isinstance(asked, str):
        return asked
    messages = [each for each in asked if isinstance(each, Mapping)] if isinstance(asked, list) else []
    if messages and messages[-1].get("role") == "assistant":
        messages.pop()
    return prompt_of(messages)
