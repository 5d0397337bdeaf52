"""The configuration language of nats-server: nested values in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Variable:
    """A value the server looks up when it starts: in the same file first, then in its environment."""

    name: str


Scalar = str | int | bool | Variable
Value = Scalar | Sequence["Value"] | Mapping[str, "Value"]
"""A configuration value. A list holds no numbers: nats-server 2.15 cannot read them there."""


def document(values: Mapping[str, Value], notes: Mapping[str, str]) -> str:
    """Return the values as a configuration file; a note stands as a comment above its key."""
    parts = (_noted(notes.get(key)) + f"{_key(key)}: {_text(value, 0)}\n" for key, value in values.items())
    return "".join(parts)


def comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _noted(note: str | None) -> str:
    return "" if note is None else "\n" + comment(note)


def _key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key)


def _text(value: Value, depth: int) -> str:
    match value:
        case Variable(name):
            return f"${name}"
        case bool() | int() | str():
            # Quoted, a leading $ is no variable: the subjects of JetStream begin with one.
            return json.dumps(value)
        case Mapping():
            lines = [f"{_key(key)}: {_text(each, depth + 1)}" for key, each in value.items()]
            return _block("{", lines, "}", depth)
        case _:
            return _block("[", [_text(each, depth + 1) for each in value], "]", depth)


def _block(opening: str, lines: Sequence[str], closing: str, depth: int) -> str:
    """Return a block, on one line if it fits. nats-server wants commas between the elements of a list."""
    flat = f"{opening}{', '.join(lines)}{closing}"
    if len(flat) <= 100 and "\n" not in flat:
        return flat
    pad = INDENT * (depth + 1)
    body = ",\n".join(pad + line for line in lines)
    return f"{opening}\n{body}\n{INDENT * depth}{closing}"
