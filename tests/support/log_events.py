"""Finds every event that the source logs, and writes the page that lists them.

    PYTHONPATH=tests/support python -m log_events > docs/reference/events.md

An event is logged by a method of a module's `log`, or through `contain` and `contained`, which add the job and the
exception. Its name has to be a literal. Fields after `**` have to come from a function that returns a literal of them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.telemetry.advice import ADVICE
from fleet.telemetry.events import MEANINGS

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("fleet", "policies", "queues", "deployments")

LEVELS: Final = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
ORDER: Final = ("debug", "info", "warning", "error", "critical")

CONTAINMENT: Final = "fleet/dispatch/containment.py"
"""Its own calls are left out: they log what its callers name."""

JOB: Final = ("job_id", "tenant", "trace_id")
"""The fields of `fields_of`, which every line about a job has."""

HEAD: Final = """# Log events

Every line of the log is one of these events, with its fields; a line of a library has that library's sentence instead.
Names are public: alerts and dashboards may count on them. `exception` holds types and places, never the words of an
exception that may quote content; what may be in no line at all is in the [threat model](../explanation/security.md).

A process of the fleet writes JSON to standard error, one object a line with `timestamp`, `level`, `logger` and `event`,
or plain text if that is a terminal. `FLEET_LOG_LEVEL` is `debug`, `info` (the default), `warning` or `error`.

A dispatcher in Ray Serve writes the same JSON to the standard error of its worker, and each line as text, `event
field=value`, to the log that Serve keeps of its replica and the dashboard shows. Replicas of models and Serve's
controller log such text through Serve's own logger, whose format is Serve's to choose: with
`RAY_SERVE_LOG_ENCODING=JSON` every field is a key of its own. Inside a service of yours, the client logs through your
structlog if you configured one, else through `logging`.

| event | level | fields | meaning | what to do |
|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Logged:
    """An event at one place in the source. `fault` says what a reader of the source cannot tell, if anything."""

    name: str
    level: str
    fields: tuple[str, ...]
    place: str
    fault: str = ""


def logged(root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> list[Logged]:
    """Return every event that the source under `root` logs."""
    files = sorted(file for package in packages for file in (root / package).rglob("*.py"))
    return [each for file in files for each in logged_in(file.read_text(), str(file.relative_to(root)))]


def logged_in(source: str, path: str) -> Iterator[Logged]:
    """Yield the events that one module logs."""
    if path == CONTAINMENT:
        return
    tree = ast.parse(source)
    reader = _Reader(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        place = f"{path}:{call.lineno}"
        for level, name, given in reader.events(call):
            yield from reader.read(level, name, given, place)


Given = list[ast.keyword | str]


class _Reader:
    """Reads the calls of one module."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: dict[str, list[ast.FunctionDef]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                self._functions.setdefault(node.name, []).append(node)

    def events(self, call: ast.Call) -> Iterator[tuple[str, ast.expr | None, Given]]:
        """Yield the level, the name and the fields of each event that a call logs."""
        match call.func:
            case ast.Attribute(ast.Name("log"), str(method)) if method in LEVELS:
                given: Given = [word for word in call.keywords if word.arg != "exc_info"]
                raised = method == "exception" or len(given) < len(call.keywords)
                yield LEVELS[method], _at(call, 0), given + (["exception"] if raised else [])
            case ast.Name("contain"):
                yield from self._contained(call, 1)
            case ast.Name("contained"):
                yield from self._contained(call, 0)

    def _contained(self, call: ast.Call, first: int) -> Iterator[tuple[str, ast.expr | None, Given]]:
        words = {word.arg: word for word in call.keywords}
        outage = words.pop("outage", None)
        about_job = words.pop("delivery", None) is not None or len(call.args) > first + 1
        given: Given = [*(JOB if about_job else ()), *words.values()]
        yield "error", _at(call, first), [*given, "exception"]
        if outage is not None:
            yield "warning", outage.value, [*given, "error"]

    def read(self, level: str, name: ast.expr | None, given: Given, place: str) -> Iterator[Logged]:
        fields, fault = self._fields(given)
        match name:
            case ast.Constant(str(word)):
                yield Logged(word, level, fields, place, fault)
            case ast.IfExp(body=one, orelse=other):
                yield from self.read(level, one, given, place)
                yield from self.read(level, other, given, place)
            case _:
                yield Logged("", level, fields, place, "its name is no literal")

    def _fields(self, given: Given) -> tuple[tuple[str, ...], str]:
        found: dict[str, None] = {}
        for word in given:
            names = [word] if isinstance(word, str) else [word.arg] if word.arg else self._spread(word.value)
            if names is None:
                return tuple(found), f"{ast.unparse(word.value)} is no literal of fields"  # type: ignore[union-attr]
            found.update(dict.fromkeys(names))
        return tuple(found), ""

    def _spread(self, value: ast.expr) -> list[str] | None:
        """Return the fields after `**`: of a literal, or of what a function of the module returns."""
        match value:
            case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
                return [str(key.value) for key in keys]  # type: ignore[union-attr]
            case ast.Call(func=ast.Name("fields_of")):
                return list(JOB)
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)) if name in self._functions:
                returned = [each.value for function in self._functions[name] for each in _returns(function)]
                spread = [self._spread(each) for each in returned if each is not None]
                return None if not spread or None in spread else [name for names in spread for name in names or ()]
        return None


def _at(call: ast.Call, place: int) -> ast.expr | None:
    return call.args[place] if len(call.args) > place else None


def _returns(function: ast.FunctionDef) -> list[ast.Return]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Return)]


def page(events: Iterable[Logged], meanings: Mapping[str, str] = MEANINGS, advice: Mapping[str, str] = ADVICE) -> str:
    """Return the page, with the events in alphabetical order."""
    by_name: dict[str, list[Logged]] = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    rows = (_row(name, by_name[name], meanings.get(name, ""), advice.get(name, "")) for name in sorted(by_name))
    return HEAD + "".join(rows)


def _row(name: str, places: list[Logged], meaning: str, advice: str) -> str:
    levels = sorted({each.level for each in places}, key=ORDER.index)
    fields = dict.fromkeys(field for each in places for field in each.fields)
    named = ", ".join(f"`{field}`" for field in fields)
    return f"| `{name}` | {', '.join(levels)} | {named} | {meaning} | {advice} |\n"


if __name__ == "__main__":
    sys.stdout.write(page(logged()))
