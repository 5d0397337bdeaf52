"""Shows what there is to train on, what an export is made of, and what of one has to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from fleet.cli.lab.evaluation_view import table_of

if TYPE_CHECKING:
    from fleet.cli.data.reading import Chosen
    from fleet.lab.data.folder import MappedLine
    from fleet.lab.data.licences import Licences

BAR = 10


def status_of(chosen: Chosen, licences: Licences, destination: str, goal: int) -> dict[str, Any]:
    """Return what there is by task, as JSON takes it."""
    names = sorted({each.task for each in chosen.examples} | set(chosen.unusable))
    tasks = [_task(name, chosen, licences, destination) | {"goal": goal} for name in names]
    return {"goal": goal, "destination": destination, "tasks": tasks, "not_agreed": chosen.not_agreed}


def _task(name: str, chosen: Chosen, licences: Licences, destination: str) -> dict[str, Any]:
    """Return what there is of one task; its progress is by the answers that this destination may be trained on."""
    from fleet.lab.data.examples import Origin

    examples = [each for each in chosen.examples if each.task == name]
    taught = [each for each in examples if each.origin is not Origin.BAD]
    allowed = [each for each in taught if licences.of(each.teacher).allows(destination)]
    sources = Counter((each.teacher.target, str(each.origin)) for each in examples)
    return {
        "task": name,
        "examples": sum(each.origin.is_learnt for each in allowed),
        "preferences": sum(each.rejected is not None for each in allowed),
        "forbidden": len(taught) - len(allowed),
        "bad": len(examples) - len(taught),
        "sources": [{"target": t, "origin": o, "examples": count} for (t, o), count in sorted(sources.items())],
        "unusable": {str(why): count for why, count in chosen.unusable.get(name, {}).items()},
    }


def status_view(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield a table of the tasks, one of their sources, and one of what is of no use."""
    if not found["tasks"]:
        yield "nothing is collected of a tenant that agreed"
    else:
        tasks = table_of("task", "to learn", "goal", "", "pairs", f"not for {found['destination']}")
        for row in found["tasks"]:
            numbers = (f"{row['preferences']:,}", f"{row['forbidden']:,}")
            tasks.add_row(row["task"], f"{row['examples']:,}", f"{row['goal']:,}", _bar(row), *numbers)
        yield from (tasks, "", _sources(found["tasks"]), "", *_unusable(found["tasks"]))
    if found["not_agreed"]:
        yield f"{found['not_agreed']:,} contents are of tenants that did not agree (rules: training)"


def _bar(row: Mapping[str, Any]) -> str:
    share = min(1.0, row["examples"] / row["goal"])
    return f"{'█' * round(BAR * share):░<{BAR}} {share:.0%}"


def _sources(tasks: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = table_of("task", "who answered", "what was said", "examples")
    for row in tasks:
        for each in row["sources"]:
            table.add_row(row["task"], each["target"], each["origin"], f"{each['examples']:,}")
    return table


def _unusable(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in tasks:
        for why, count in Counter(row["unusable"]).most_common():
            yield f"{row['task']}: {count:,} of no use: {why}"


def export_view(sheet: Mapping[str, Any], folder: str) -> Iterator[RenderableType]:
    """Yield the steps of an export with their counts, and where it lies."""
    from fleet.lab.data.datasheet import told_of

    table = table_of("step", "given", "left", "dropped")
    for step in sheet["steps"]:
        table.add_row(step["name"], f"{step['given']:,}", f"{step['left']:,}", told_of(step))
    rows = sheet["rows"]
    yield from (table, "")
    yield (
        f"{folder}: {rows['train']:,} rows to train, {rows['validation']:,} to validate, {rows['evaluation']:,} to "
        f"evaluate, {rows['review']:,} for somebody to read; DATASHEET.md says what they are made of"
    )


def erased_view(gone: Sequence[MappedLine]) -> Iterator[RenderableType]:
    """Yield the lines that have to go, by file."""
    by_file: dict[str, list[int]] = {}
    for each in gone:
        by_file.setdefault(each.file, []).append(each.line)
    for name, lines in sorted(by_file.items()):
        yield f"{name}: {len(set(lines)):,} lines have to go: {', '.join(map(str, sorted(set(lines))))}"
