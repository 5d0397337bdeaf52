"""Takes secrets and personal data out of examples. The same value has the same placeholder in question and answer.

Names of people have no shape that could be found. So tenants agree, tasks are named, and examples with one of the
rules' personal words are held back for somebody to read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fleet.lab.data.examples import Example

SECRET: Final = "SECRET"  # noqa: S105  (the name of a placeholder)

# What may be long begins where nothing like it stands before, or has an end: else a long word would be read again from
# each of its letters.
_SECRETS: Final = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),  # a JSON Web Token
    re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"),  # name and password in an address
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}"),
    re.compile(
        r"(?i)\b(?:password|passwd|pwd|api[_-]?key|secret|access[_-]?token)\b[\"']?\s*[:=]\s*[\"']?([^\s\"',;}]{4,})"
    ),
    re.compile(r"(?<![\w-])(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{32,}"),  # a key or digest
)

_SHAPES: Final = (
    (SECRET, re.compile(r"\b(?:[sp]k|ghp|xox[a-z]|AKIA)[-_A-Za-z0-9]{12,}")),
    ("EMAIL", re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")),
    ("ACCOUNT", re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3}(?!\w))?")),
    ("ADDRESS", re.compile(r"(?<!\w)[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?!\w)")),
    ("ADDRESS", re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")),  # a sentence may end behind it
    (
        "NUMBER",
        re.compile(
            r"(?<!\w)\d(?:[\d ()/.-]{7,}\d|\d{3}-\d{2}-\d{2}(?!\w)|\d?[./]\d{1,2}[./]\d{2,4}(?!\w)"
            r"|\d{2}-\d{2}-\d{4}(?!\w))"
        ),
    ),
)
"""The shapes that `policies.caching.personal` finds a text by, each whole: where a value can be two, the first."""

_KEPT: Final = frozenset({"role", "type", "id", "tool_call_id"})
"""Fields whose text is the format's own."""


@dataclass(slots=True)
class Placeholders:
    """The placeholders of one example, by what they stand for."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def of(self, kind: str, value: str) -> str:
        key = kind, " ".join(value.casefold().split())
        if key not in self.names:
            self._counts[kind] += 1
            self.names[key] = f"<{kind}_{self._counts[kind]}>"
        return self.names[key]


def scrubbed(example: Example) -> tuple[Example, Counter[str]]:
    """Return the example without secrets and personal data of a known shape, and how many values of each kind it had.

    A message of a person loses its `name`.
    """
    places = Placeholders()
    found = replace(
        example,
        messages=tuple(_message(each, places) for each in example.messages),
        answer=_message(example.answer, places),
        rejected=None if example.rejected is None else _message(example.rejected, places),
        tools=tuple(_value(each, places) for each in example.tools),
    )
    return found, Counter(kind for kind, _ in places.names)


def scrubbed_text(text: str) -> str:
    """Return a text without secrets and personal data, with the placeholders that an example of it has."""
    return _text(text, Placeholders())


def _message(message: Mapping[str, Any], places: Placeholders) -> dict[str, Any]:
    return {key: _value(value, places, key) for key, value in message.items() if key != "name"}


def _value(value: Any, places: Placeholders, key: str = "") -> Any:
    match value:
        case str():
            return value if key in _KEPT else _text(value, places)
        case Mapping():
            return {name: _value(each, places, name) for name, each in value.items()}
        case list() | tuple():
            return [_value(each, places) for each in value]
        case _:
            return value


def _text(text: str, places: Placeholders) -> str:
    """Return the text with placeholders; JSON stays JSON."""
    if text.lstrip().startswith(("{", "[")):
        try:
            held = json.loads(text)
        except (ValueError, RecursionError):
            return _plain(text, places)
        found = _inside(held, places)
        return text if found == held else json.dumps(found, ensure_ascii=False)
    return _plain(text, places)


def _inside(held: Any, places: Placeholders) -> Any:
    match held:
        case dict():
            return {_plain(name, places): _inside(each, places) for name, each in held.items()}
        case list():
            return [_inside(each, places) for each in held]
        case str():
            return _plain(held, places)
        case bool() | None:
            return held
        case _:
            text = str(held)
            return held if (found := _plain(text, places)) == text else found


def _plain(text: str, places: Placeholders) -> str:
    for pattern in _SECRETS:
        text = pattern.sub(lambda match: _in_place(match, SECRET, places), text)
    for kind, pattern in _SHAPES:
        text = pattern.sub(lambda match, kind=kind: places.of(kind, match[0]), text)  # type: ignore[misc]
    return text


def _in_place(match: re.Match[str], kind: str, places: Placeholders) -> str:
    """Return the match with a placeholder for its group, or for all of it where it has none."""
    if not match.re.groups:
        return places.of(kind, match[0])
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return match[0][:start] + places.of(kind, match[1]) + match[0][end:]
