"""The published JSON Schemas are current and describe what is really sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Status
from queues.wire import schema
from queues.wire.feedback import decode_feedback
from queues.wire.job import decode_job
from queues.wire.result import decode_result

DOCS = Path(__file__).parents[3] / "docs" / "reference"
PUBLISHED = DOCS / "wire-schema-v1.json"
WIRE_MD = (DOCS / "wire.md").read_text()
DOCUMENT: dict[str, Any] = json.loads(PUBLISHED.read_text())


def check(name: str, message: Any) -> None:
    """Raises ValidationError unless the message obeys the published schema of that name."""
    Draft202012Validator({**DOCUMENT, "$ref": f"#/$defs/{name}"}).validate(message)


def test_the_published_schema_is_the_one_in_the_code() -> None:
    assert PUBLISHED.read_text() == schema.rendered(), "run: make docs"


def test_the_published_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(DOCUMENT)


def _example(title: str) -> Any:
    """The JSON block under the heading in docs/reference/wire.md."""
    section = WIRE_MD.split(f"## {title}\n", 1)[1]
    match = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.mark.parametrize("name", ["Job", "Feedback", "Result", "LedgerEntry", "DeadLetter"])
def test_the_examples_in_the_documentation_obey_the_schema(name: str) -> None:
    check(name, _example({"LedgerEntry": "Ledger entry", "DeadLetter": "Dead letter"}.get(name, name)))


def test_the_examples_in_the_documentation_can_be_read() -> None:
    job = decode_job(json.dumps(_example("Job")).encode(), None, "jobs.interactive.acme", 1.0)

    assert not isinstance(job, Malformed)
    assert isinstance(decode_feedback(json.dumps(_example("Feedback")).encode(), "feedback.acme", 1.0), Feedback)
    assert decode_result(json.dumps(_example("Result")).encode()).status is Status.SUCCEEDED


@pytest.mark.parametrize("word", [*Status, *Reason, *Lane, *Plan, *Tier, *Verdict, *Witness])
def test_every_word_is_documented(word: str) -> None:
    assert f"`{word}`" in WIRE_MD


@pytest.mark.parametrize(
    "change",
    [
        {"id": "short"},
        {"plan": "gold"},
        {"priority": 1},
        {"request": {"messages": []}},
        {"request": {"messages": [{"role": "assistant"}]}},
        {"max_cost_usd": 0},
    ],
)
def test_the_schema_refuses_what_the_fleet_refuses(change: dict[str, Any]) -> None:
    job = {**_example("Job"), **change}

    with pytest.raises(ValidationError):
        check("Job", job)
    assert isinstance(decode_job(json.dumps(job).encode(), None, "jobs.interactive.acme", 1.0), Malformed)


@pytest.mark.parametrize(
    "change", [{"id": "short"}, {"verdict": "meh"}, {"mood": 1}, {"text": ""}, {"propensity": 0}, {"source": "boss"}]
)
def test_the_schema_refuses_the_feedback_that_readers_refuse(change: dict[str, Any]) -> None:
    feedback = {**_example("Feedback"), **change}

    with pytest.raises(ValidationError):
        check("Feedback", feedback)
    assert not isinstance(decode_feedback(json.dumps(feedback).encode(), "feedback.acme", 1.0), Feedback)


@pytest.mark.parametrize(("field", "words"), [("lane", Lane), ("tier", Tier), ("plan", Plan)])
def test_the_schema_knows_the_words_of_the_model(field: str, words: type[Lane] | type[Tier] | type[Plan]) -> None:
    assert f'"{field}"' in PUBLISHED.read_text()
    for word in words:
        check("Job", {**_example("Job"), field: str(word)})
