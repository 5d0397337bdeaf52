"""Tells schemathesis what no schema can say. It is loaded in schemathesis' own environment.

It also counts the calls, and writes the counts to the file that FUZZ_CALLS names.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

IDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=5, unique=True)

STATEFUL = "stateful"

ENDED = b'"batch_ended"'
"""What a batch that is there says to being cancelled: most are completed by then."""

REJECTED = "Schema-valid request rejected"
"""What schemathesis calls the refusal of a good request."""

EXISTING = {
    "x-fleet-task": "chat",
    "x-fleet-cloud": "allow",
    "x-fleet-plan": "paid",
    "x-fleet-deadline-seconds": str(31 * 86_400),  # behind every start
}
OMITTED = ("x-fleet-regions", "x-fleet-above", "x-fleet-own-key")
"""Headers whose values the clock, the rules, the catalogue and the secrets know: one that will do, or none."""

LATER = "x-fleet-not-before-seconds"

REFUSALS = {
    "The batch is [a-z]+ and cannot be cancelled": "a batch ends while it is being tried",
    "a file of an account cannot be read here": "depends on whose key is used",
    "stream_options: needs stream": "depends on another field",
    "input, taken as the messages of a chat request: ": "which parts a turn may have depends on whose turn it is",
    "purpose: must be batch": "the phase of coverage fills forms without looking at their schema",
}
"""What a good request may be refused for, and why no schema can say so."""

cases: Counter[str] = Counter()
"""How many cases each phase sent."""

answered: Counter[str] = Counter()
"""How many of each operation's cases in the stateful phase found what they were about."""

CREATORS = {
    "POST /v1/files": "file_id",
    "POST /v1/batches": "batch_id",
    "POST /v1/responses": "response_id",
    "POST /v1/webhook_endpoints": "webhook_endpoint_id",
}

made: dict[str, list[str]] = {name: [] for name in CREATORS.values()}
"""The ids made in the stateful phase, by the parameter that takes them; what they name may have been deleted since."""

lives: Counter[str] = Counter()
"""How often each object was found in the stateful phase, by its id."""


def rows_of(ids: list[str]) -> bytes:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    rows = [{"custom_id": each, "method": "POST", "url": "/v1/chat/completions", "body": body} for each in ids]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


schemathesis.openapi.media_type("application/jsonl", IDS.map(rows_of))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put into a good request what exists: a task, a model, an address that a webhook may lead to."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.headers.update({name: value for name, value in EXISTING.items() if name in case.headers})
    phase = case.meta.phase.name.value
    for name in OMITTED:
        case.headers.pop(name, None)
    if case.headers.pop(LATER, None) is not None and phase == STATEFUL:
        case.headers[LATER] = "3"  # found, cancelled and deleted while it waits; elsewhere somebody would wait for it
    if phase == STATEFUL:
        for name, value in case.path_parameters.items():
            if (ids := made.get(name)) and value not in ids:
                case.path_parameters[name] = ids[-1]
    if case.media_type == "application/json" and isinstance(case.body, dict):
        case.body = _with_integers({**case.body, **_existing(case.body, case.operation.label, phase)})


def _existing(body: dict[str, Any], operation: str, phase: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if body.get("model") is not None:
        found["model"] = "auto"
    if operation == "POST /v1/batches" and phase == STATEFUL and made["file_id"]:
        found["input_file_id"] = made["file_id"][-1]
    if body.get("url") is not None:
        found["url"] = os.environ["FUZZ_RECEIVER"]
    if operation == "POST /v1/responses" and phase == STATEFUL:
        found.update(background=True, store=True, stream=False)  # others are not kept, and cannot be found again
    return found


def _with_integers(body: Any) -> Any:
    """Return the body with 5 for 5.0: JSON Schema takes both for an integer, and the API the first alone."""
    match body:
        case dict():
            return {name: _with_integers(each) for name, each in body.items()}
        case list():
            return [_with_integers(each) for each in body]
        case float() if body.is_integer():
            return int(body)
        case _:
            return body


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drop the refusals that no schema can announce."""
    if failure.title != REJECTED or response.status_code != 400:
        return True
    message = response.json()["error"]["message"]
    return not any(re.match(refusal, message) for refusal in REFUSALS)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    phase = case.meta.phase.name.value if case.meta is not None else "probes"
    cases[phase] += 1
    if phase == STATEFUL and (response.status_code < 300 or ENDED in response.content):
        answered[case.operation.label] += 1
        if case.operation.label in CREATORS:
            made[CREATORS[case.operation.label]].append(response.json()["id"])
        lives.update(map(str, case.path_parameters.values()))


@atexit.register
def write() -> None:
    counts = {"cases": cases, "answered": answered, "longest": max(lives.values(), default=0)}
    Path(os.environ["FUZZ_CALLS"]).write_text(json.dumps(counts))
