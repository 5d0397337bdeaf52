"""The sheet that says what a data set is made of: for programs as JSON, for people as Markdown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.lab.data.examples import Example
from fleet.lab.data.export import Prepared, Wish
from fleet.lab.data.licences import Licences

Sheet = dict[str, Any]


def sheet_of(
    prepared: Prepared, wish: Wish, licences: Licences, files: Mapping[str, bytes], about: Mapping[str, Any]
) -> Sheet:
    """Return the sheet. `about` has what only the caller knows: when, by which version of the rules, against what."""
    rows = [*prepared.train, *prepared.validation]
    used = {licences.of(each.teacher) for each in rows}
    return {
        "tasks": list(wish.tasks),
        "beside": list(wish.beside),
        "format": str(wish.form),
        "destination": wish.destination,
        "seed": wish.seed,
        "trust_graders": wish.trust_graders,
        "personal_words": sorted(wish.words),
        **about,
        "rows": {
            "train": len(prepared.train),
            "validation": len(prepared.validation),
            "evaluation": len(prepared.evaluation),
            "heldout": len(prepared.held_out),
            "review": len(prepared.review),
        },
        "steps": [
            {"name": s.name, "given": s.given, "left": s.left, "dropped": dict(s.dropped), "note": s.note}
            for s in prepared.steps
        ],
        "replaced": dict(sorted(prepared.replaced.items())),
        "origins": _counts(str(each.origin) for each in rows),
        "teachers": _teachers(rows, licences),
        "licences": {each.licence: each.because for each in sorted(used, key=lambda row: row.licence)},
        "tenants": len({each.source.tenant for each in rows}),
        "oldest": min(each.source.at for each in rows),
        "newest": max(each.source.at for each in rows),
        "files": {name: described(data) for name, data in files.items()},
    }


def described(data: bytes) -> Mapping[str, Any]:
    return {"lines": data.count(b"\n"), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _teachers(rows: Sequence[Example], licences: Licences) -> list[Mapping[str, Any]]:
    found = Counter(each.teacher for each in rows).most_common()
    return [
        {
            "target": teacher.target,
            "provider": teacher.provider,
            "model": teacher.model,
            "licence": licences.of(teacher).licence,
            "rows": count,
        }
        for teacher, count in found
    ]


def _counts(names: Any) -> Mapping[str, int]:
    return dict(sorted(Counter(names).items()))


def markdown(sheet: Mapping[str, Any]) -> str:
    """Return the sheet for people."""
    rows = sheet["rows"]
    lines = [
        f"# Training data: {', '.join(sheet['tasks'])}",
        "",
        f"{rows['train']:,} rows to train {sheet['destination']} models on, {rows['validation']:,} to validate with, "
        f"in the format {sheet['format']}; {rows['evaluation']:,} were answered badly, to evaluate with. "
        f"{rows['heldout']:,} are held out to try adapters on{_beside(sheet)}. "
        f"{rows['review']:,} were held back: `review.jsonl` is for somebody to read.",
        f"Made at {sheet['made_at']} by rules {sheet['rules'][:12]}, seed {sheet['seed']}.",
        "",
        "| step | given | left | dropped |",
        "|---|---|---|---|",
        *(_step(step) for step in sheet["steps"]),
        "",
        "| teacher | provider | model | licence | rows |",
        "|---|---|---|---|---|",
        *(
            f"| {each['target']} | {each['provider']} | {each['model']} | {each['licence']} | {each['rows']:,} |"
            for each in sheet["teachers"]
        ),
        "",
        *(f"- {name}: {because}" for name, because in sheet["licences"].items()),
        "",
        "| file | lines | sha256 |",
        "|---|---|---|",
        *(f"| {name} | {each['lines']:,} | {each['sha256']} |" for name, each in sheet["files"].items()),
        "",
        "Whoever erases a tenant or a person also runs `fleet data erased` on this folder: `erasure-map.jsonl` says",
        "which lines came of which job. Names of people have no shape by which they could be found: read before you",
        "share.",
        "",
    ]
    return "\n".join(lines)


def _beside(sheet: Mapping[str, Any]) -> str:
    return f", those of {', '.join(sheet['beside'])} among them" if sheet["beside"] else ""


def _step(step: Mapping[str, Any]) -> str:
    return f"| {step['name']} | {step['given']:,} | {step['left']:,} | {told_of(step)} |"


def told_of(step: Mapping[str, Any]) -> str:
    """Return in words what a step of a sheet dropped, the most frequent reason first, and what else it did."""
    dropped = "; ".join(f"{count:,} {reason}" for reason, count in Counter(step["dropped"]).most_common())
    return ". ".join(part for part in (dropped, step["note"]) if part)
